//go:build e2e

package laptop

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.yaml.in/yaml/v3"

	"github.com/forebaylog/forebay/localstack/rig"
)

// composeFile is what these tests read of the compose file. Its form is checked by
// tools/compose, with Docker Compose's own loader.
type composeFile struct {
	Services map[string]service
	Volumes  map[string]any
	Configs  map[string]struct{ Content string }
}

type service struct {
	Image       string
	Build       *struct{ Context string }
	Command     []string
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Ports       []string
	Volumes     []string
	Configs     []struct{ Source, Target string }
	Healthcheck *struct{ Test []string }
}

func loadCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "localstack", "docker-compose.yml"))
	require.NoError(t, err)
	var file composeFile
	require.NoError(t, yaml.Unmarshal(text, &file))
	return file
}

// brokers are the services that are built from the Dockerfile, in order.
func (f composeFile) brokers() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(f.Services)) {
		if f.Services[name].Build != nil {
			names = append(names, name)
		}
	}
	return names
}

// graceOfDocker is what the compose file gives a broker to end, stop_grace_period.
const graceOfDocker = 30 * time.Second

func TestComposeHangsTogether(t *testing.T) {
	file := loadCompose(t)
	require.Equal(t, []string{"broker-1", "broker-2", "broker-3"}, file.brokers())
	published := map[string]string{}
	for name, s := range file.Services {
		require.NotContains(t, s.Image, ":latest", "%s: name a version", name)
		for other, on := range s.DependsOn {
			target, ok := file.Services[other]
			require.True(t, ok, "%s depends on %s, which is none", name, other)
			if on.Condition == "service_healthy" {
				require.NotNil(t, target.Healthcheck, "%s waits for the health of %s, which has no check", name, other)
			}
		}
		for _, v := range s.Volumes {
			volume, path, _ := strings.Cut(v, ":")
			require.Contains(t, file.Volumes, volume, name)
			require.Contains(t, instruction(t, "VOLUME"), path, "%s mounts where the image keeps nothing", name)
		}
		for _, p := range s.Ports {
			host := p[:strings.LastIndex(p, ":")]
			require.True(t, strings.HasPrefix(host, "127.0.0.1:"), "%s: %s is open to the network", name, p)
			require.Empty(t, published[host], "%s and %s want the same port", name, published[host])
			published[host] = name
		}
	}
	bucket := regexp.MustCompile(`^minio://minio:9000/([^/]+)/`).FindStringSubmatch(file.Services["broker-1"].Environment["FOREBAY_OBJECT_STORE"])
	require.NotNil(t, bucket)
	require.Contains(t, strings.Join(file.Services["bucket"].Command, "\n"), "store/"+bucket[1]+"\n")
	require.Equal(t, rig.MinIOBucket, bucket[1], "the tests below have that bucket")
}

// Clients on the machine are told the published port, and others the name of the service.
func TestComposeListeners(t *testing.T) {
	file := loadCompose(t)
	for _, name := range file.brokers() {
		s := file.Services[name]
		ports := listeners(t, s.Environment["FOREBAY_LISTENERS"])
		told := listeners(t, s.Environment["FOREBAY_ADVERTISED_LISTENERS"])
		require.Equal(t, name+ports["INTERNAL"], told["INTERNAL"], "its own name, its own port")
		outside := strings.TrimPrefix(told["EXTERNAL"], "localhost")
		require.Contains(t, s.Ports, "127.0.0.1"+outside+ports["EXTERNAL"])
		_, http, _ := strings.Cut(s.Environment["FOREBAY_HTTP_ADDR"], ":")
		require.True(t, slices.ContainsFunc(s.Ports, func(p string) bool { return strings.HasSuffix(p, ":"+http) }), "%s publishes no port for events", name)
	}
}

// listeners are the addresses of NAME://host:port by their names.
func listeners(t *testing.T, text string) map[string]string {
	t.Helper()
	addrs := map[string]string{}
	for l := range strings.SplitSeq(text, ",") {
		name, addr, ok := strings.Cut(l, "://")
		require.True(t, ok, l)
		addrs[name] = addr
	}
	require.Len(t, addrs, 2, text)
	return addrs
}

// The brokers of the compose file run, with their commands and environment and the image's,
// on services that are started as the file says; only addresses and directories are others.
func TestComposeCluster(t *testing.T) {
	file, binary := loadCompose(t), buildImage(t)
	minio, table := startServices(t, file.Services["minio"].Environment)
	var bootstrap []string
	var at addrs // of the last broker
	var started []*rig.Process
	for _, name := range file.brokers() {
		internal, external := freeAddr(t), freeAddr(t)
		at = addrs{admin: freeAddr(t), events: freeAddr(t)}
		here := strings.NewReplacer("minio:9000", minio.Addr, "http://localstack:4566", table.Endpoint,
			"/var/lib/forebay", filepath.Join(t.TempDir(), name), "0.0.0.0:8080", at.admin,
			"0.0.0.0:8082", at.events, "/etc/forebay/admin-tokens", file.tokens(t, name))
		env := imageEnv(t)
		for key, value := range file.Services[name].Environment {
			value = regexp.MustCompile(`INTERNAL://[^,]*`).ReplaceAllString(value, "INTERNAL://"+internal)
			value = regexp.MustCompile(`EXTERNAL://[^,]*`).ReplaceAllString(value, "EXTERNAL://"+external)
			env = append(env, key+"="+value)
		}
		for i := range env {
			env[i] = here.Replace(env[i])
		}
		p := startBroker(t, binary, name, file.Services[name].Command, env)
		started, bootstrap = append(started, p), append(bootstrap, external)
	}
	for i, name := range file.brokers() {
		require.Equal(t, []string{"CMD", "forebay", "health"}, file.Services[name].Healthcheck.Test)
		awaitTCP(t, started[i], bootstrap[i])
	}
	requireServes(t, bootstrap...)
	requireHTTP(t, at, bootstrap)
	requireRacks(t, bootstrap, "a", "b", "c")
	for _, p := range started {
		_, err := p.Stop(graceOfDocker)
		require.NoError(t, err, p.Output())
	}
}

// addrs are a broker's for HTTP.
type addrs struct{ admin, events string }

// tokens is the path of a file like the one that a broker has in its container.
func (f composeFile) tokens(t *testing.T, broker string) string {
	t.Helper()
	mounted := f.Services[broker].Configs
	require.Len(t, mounted, 1)
	require.Equal(t, f.Services[broker].Environment["FOREBAY_ADMIN_TOKEN_FILE"], mounted[0].Target)
	path := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(path, []byte(f.Configs[mounted[0].Source].Content), 0o600))
	return path
}

// requireHTTP does with a broker what the head of the file says, at other addresses.
func requireHTTP(t *testing.T, at addrs, bootstrap []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "localstack", "docker-compose.yml"))
	require.NoError(t, err)
	here := strings.NewReplacer("localhost:8081", at.admin, "localhost:8181", at.events,
		"localhost:9092,localhost:9093,localhost:9094", strings.Join(bootstrap, ","))
	commands := regexp.MustCompile(`(?m)^#   ((?:curl|kcat) (?:.*\\\n)*.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, commands, 3)
	said := ""
	for _, c := range commands {
		said = typed(t, here.Replace(strings.ReplaceAll(c[1], "\n#", "\n")))
	}
	require.Equal(t, "{\"mag\": 3.1}\n", said)
}

// typed returns what a command prints that somebody types. One that reads is typed again until it works: the broker that
// kcat happens to ask may not have heard of a topic that was made a moment before.
func typed(t *testing.T, line string) (said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	try := func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "sh", "-c", line).Output()
		said = string(out)
		return err
	}
	err := try(ctx)
	if err != nil && strings.HasPrefix(line, "kcat -C") {
		err = rig.Await(ctx, try)
	}
	require.NoError(t, err, "%s", line)
	return said
}

// awaitTCP waits until a broker answers clients.
func awaitTCP(t *testing.T, p *rig.Process, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	require.NoError(t, p.Await(ctx, func(ctx context.Context) error {
		client, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Ping(ctx)
	}))
}

// requireServes makes a topic with a replica on each broker, and produces and consumes in it.
func requireServes(t *testing.T, bootstrap ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...), kgo.ConsumeTopics("events"), kgo.DefaultProduceTopic("events"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 6, int16(len(bootstrap)), nil, "events")
	require.NoError(t, err)
	want := map[string]bool{}
	for i := range 100 {
		value := fmt.Sprint(i)
		want[value] = true
		require.NoError(t, client.ProduceSync(ctx, kgo.KeyStringRecord(value, value)).FirstErr())
	}
	got := map[string]bool{}
	for len(got) < len(want) {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
	}
	require.Equal(t, want, got)
}

// requireRacks checks that there are brokers in these racks, told at these addresses.
func requireRacks(t *testing.T, bootstrap []string, racks ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap[0]))
	require.NoError(t, err)
	defer client.Close()
	brokers, err := kadm.NewClient(client).ListBrokers(t.Context())
	require.NoError(t, err)
	var found, addrs []string
	for _, b := range brokers {
		found = append(found, *b.Rack)
		addrs = append(addrs, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	require.ElementsMatch(t, racks, found)
	require.ElementsMatch(t, bootstrap, addrs, "of the listener that was asked")
}

// requireHolds reads a topic from its beginning.
func requireHolds(t *testing.T, bootstrap []string, topic string, records int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer client.Close()
	got := 0
	for got < records {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		got += fetches.NumRecords()
	}
	require.Equal(t, records, got)
}

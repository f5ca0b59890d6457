package gosuites

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// saramaAdvertised are the addresses that sarama's suite expects its brokers at: those of
// toxiproxy, which it makes fail on the way.
func saramaAdvertised(id int32) string { return fmt.Sprintf("127.0.0.1:%d", 29090+id) }

const toxiproxyAddr = "127.0.0.1:8474" // by default in the suite's own environment

// sarama is the functional suite of sarama, which wants five brokers behind toxiproxy.
func sarama() suite.Suite {
	return suite.Suite{
		Name: "sarama", About: "functional suite of the Go client sarama 1.61.1, through toxiproxy", Nodes: []int{5},
		Advertised: saramaAdvertised, Limit: 25 * time.Minute,
		Settings: map[string]string{
			"group.initial.rebalance.delay.ms": "0", "default.replication.factor": "3", "num.partitions": "1",
			"auto.create.topics.enable": "false", // as in the suite's docker-compose.yml
		},
		Known: map[string]string{
			"TestFuncAdminQuotas":                  "it sets quotas, which are not served yet",
			"TestFuncAdminIncrementalAlterConfigs": "it changes log.cleaner.backoff.ms of a broker, which Forebay has not",
			"TestFuncAdminListOffsets": "it produces with acks=1 and asks for the end at once: an answer to acks=1 comes before the commit, " +
				"which is a write to the object store",
		},
		Prepare: prepareSarama,
		Run:     runSarama,
	}
}

func prepareSarama(ctx context.Context, tools string, log io.Writer) error {
	dir, err := install(ctx, tools, saramaModule, log)
	if err != nil {
		return err
	}
	proxy, err := install(ctx, tools, toxiproxyModule, log)
	if err != nil {
		return err
	}
	if err := build(ctx, proxy, log, "build", "-o", "toxiproxy-server", "./cmd/server"); err != nil {
		return err
	}
	return build(ctx, dir, log, "test", "-tags", "functional", "-c", "-o", filepath.Join(tools, "sarama.test"), ".")
}

func runSarama(ctx context.Context, t *suite.Target) (_ []suite.Case, err error) {
	binary := filepath.Join(sources(t.Tools, toxiproxyModule), "toxiproxy-server")
	proxy, err := rig.StartProcess("toxiproxy", suite.Command(ctx, binary, "-host", "127.0.0.1", "-port", "8474"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proxy.Kill()) }()
	for i, upstream := range t.Brokers {
		id := int32(i + 1)
		if err := proxy.Await(ctx, func(ctx context.Context) error { return addProxy(ctx, id, upstream) }); err != nil {
			return nil, err
		}
	}
	dir := sources(t.Tools, saramaModule)
	tests, err := functionalTests(dir)
	if err != nil {
		return nil, err
	}
	docker, err := startDocker(ctx, t.Dir, t.Cluster)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, docker.Close()) }()
	return goTest{
		dir: dir,
		env: []string{
			"TOXIPROXY_ADDR=http://" + toxiproxyAddr, "KAFKA_VERSION=4.1.0",
			"PATH=" + docker.Dir + string(filepath.ListSeparator) + os.Getenv("PATH"),
		},
		args: []string{"-tags", "functional", "-timeout", "24m", "-run", tests, "."},
	}.run(ctx, t.Log)
}

// functionalTests is a pattern of the functional tests' names. The unit tests of the same
// package need no broker and are left out.
func functionalTests(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "functional_*_test.go"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("find the functional tests in %s: no files, %w", dir, err)
	}
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("find the functional tests: %w", err)
		}
		for _, m := range testFunction.FindAllSubmatch(source, -1) {
			names = append(names, string(m[1]))
		}
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// addProxy makes the way to a broker that the suite calls kafka1 to kafka5.
func addProxy(ctx context.Context, id int32, upstream string) error {
	body, err := json.Marshal(map[string]any{
		"name": fmt.Sprintf("kafka%d", id), "listen": saramaAdvertised(id), "upstream": upstream, "enabled": true,
	})
	if err != nil {
		return fmt.Errorf("describe a proxy: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+toxiproxyAddr+"/proxies", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a proxy: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("make a proxy: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("make a proxy: %s: %s", resp.Status, said)
	}
	return nil
}

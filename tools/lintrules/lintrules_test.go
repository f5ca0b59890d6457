package lintrules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/forebaylog/forebay/"

// seeds are files and what must be found in each; an empty want means that nothing may be.
var seeds = []struct{ file, body, want string }{
	// Imports go down only.
	{"infra/up/up.go", imports(module + "tiering/pack"), "depguard: infra knows nothing of tiering"},
	{"infra/upper/up.go", imports(module + "broker/wire"), "depguard: infra knows nothing of the broker"},
	{"infra/up/up_test.go", imports(module + "localstack/rig"), "depguard: the test rig is above everything"},
	{"tiering/up/up.go", imports(module + "broker/wire"), "depguard: tiering knows nothing of the broker"},
	{"tiering/upper/up.go", imports(module + "cmd/forebay/tool"), "depguard: imports go down only"},
	{"broker/up/up.go", imports(module + "functions/admin"), "depguard: imports go down only"},
	{"cmd/up/up.go", imports(module + "localstack/rig"), "depguard: the test rig is above everything"},
	{"cmd/down/down.go", imports(module + "broker/wire"), ""},
	{"broker/down/down.go", imports(module + "tiering/pack"), ""},
	{"tiering/down/down.go", imports(module + "infra/id"), ""},
	{"functions/down/down.go", imports(module + "broker/wire"), ""},

	// A dependency is known to as few packages as can be.
	{"tiering/seal/index.go", imports("github.com/dgraph-io/badger/v4"), "depguard: only tiering/journal imports Badger"},
	{"cmd/badger/index.go", imports("github.com/dgraph-io/badger/v4"), "depguard: only tiering/journal imports Badger"},
	{"tiering/journal/index.go", imports("github.com/dgraph-io/badger/v4"), ""},
	{"infra/offsets/bolt.go", imports("go.etcd.io/bbolt"), "depguard: only the driver in infra/kv imports bbolt"},
	{"infra/kv/bolt.go", imports("go.etcd.io/bbolt"), ""},
	{"broker/aws/aws.go", imports("github.com/aws/aws-sdk-go-v2/aws"), "depguard: only the drivers in infra import AWS"},
	{"localstack/rig/aws.go", imports("github.com/aws/aws-sdk-go-v2/aws"), "depguard: only the drivers in infra import AWS"},
	{"tiering/minio/minio.go", imports("github.com/minio/minio-go/v7"), "depguard: only the drivers in infra import MinIO"},
	{"infra/objstore/aws.go", imports("github.com/aws/aws-sdk-go-v2/aws"), ""},
	{"broker/events/events.go", imports("github.com/cloudevents/sdk-go/v2/event"), "depguard: only the ends of the event bus know CloudEvents"},
	{"cmd/forebay/internal/sink/events.go", imports("github.com/cloudevents/sdk-go/v2/event"), ""},
	{"broker/lambda/main.go", imports("github.com/aws/aws-lambda-go/lambda"), "depguard: Lambda mains are in functions"},
	{"functions/lambda/main.go", imports("github.com/aws/aws-lambda-go/lambda"), ""},

	// Protocol types at the edge.
	{"broker/partition/proto.go", imports("github.com/twmb/franz-go/pkg/kmsg"), "depguard: import protocol types"},
	{"broker/group/proto.go", imports("github.com/twmb/franz-go/pkg/kerr"), "depguard: import protocol types"},
	{"tiering/proto/proto.go", imports("github.com/twmb/franz-go/pkg/kmsg"), "depguard: import protocol types"},
	{"broker/admin/proto.go", imports("github.com/twmb/franz-go/pkg/kmsg"), "depguard: broker/admin knows Kafka's errors"},
	{"broker/admin/errors.go", imports("github.com/twmb/franz-go/pkg/kerr"), ""},
	{"broker/client.go", imports("github.com/twmb/franz-go/pkg/kgo"), "depguard: a broker is not its own client"},
	{"broker/proto.go", imports("github.com/twmb/franz-go/pkg/kmsg"), ""},
	{"broker/wire/proto.go", imports("github.com/twmb/franz-go/pkg/kerr"), ""},
	{"broker/client_test.go", imports("github.com/twmb/franz-go/pkg/kgo"), ""},
	{"cmd/client/client.go", imports("github.com/twmb/franz-go/pkg/kgo"), ""},

	// What pure code and libraries leave alone.
	{"broker/group/clock.go", uses("time", "time.Now()"), "forbidigo: pure logic is given now"},
	{"tiering/producers/clock.go", uses("time", "time.Since(time.Time{})"), "forbidigo: pure logic is given now"},
	{"tiering/batch/clock.go", uses("time", "time.Now()"), "forbidigo: pure logic is given now"},
	{"tiering/pack/clock.go", uses("time", "time.Now()"), "forbidigo: pure logic is given now"},
	{"tiering/wal/clock.go", uses("time", "time.Now()"), ""},
	{"tiering/pack/clock_test.go", uses("time", "time.Now()"), ""},
	{"tiering/wal/env.go", uses("os", `os.Getenv("HOME")`), "forbidigo: the environment is read only in mains"},
	{"cmd/env/env.go", uses("os", `os.Getenv("HOME")`), ""},
	{"broker/log.go", imports("log"), "depguard: use log/slog"},
	{"broker/helper/helper.go", imports("github.com/stretchr/testify/require"), "depguard: test helpers belong"},
	{"infra/kv/kvtest/suite.go", imports("github.com/stretchr/testify/require"), ""},
	{"broker/long/long.go", "func Long(n int) int {\n" + strings.Repeat("n++\n", 80) + "return n\n}\n", "funlen: too long"},
}

func imports(path string) string { return fmt.Sprintf("import _ %q\n", path) }

func uses(pkg, expr string) string {
	return fmt.Sprintf("import %q\n\nvar _ any = %s\n", pkg, expr)
}

func TestEveryRuleBites(t *testing.T) {
	linter := os.Getenv("FOREBAY_GOLANGCI")
	if linter == "" {
		t.Fatal("FOREBAY_GOLANGCI does not name golangci-lint; run make lint-selftest")
	}
	dir := plant(t)
	got := run(t, linter, dir)
	for _, seed := range seeds {
		found := got[seed.file]
		delete(got, seed.file)
		switch {
		case seed.want == "" && len(found) > 0:
			t.Errorf("%s is in order, but the linters found %q", seed.file, found)
		case seed.want != "" && !matches(found, seed.want):
			t.Errorf("%s breaks a rule: want %q, found %q", seed.file, seed.want, found)
		}
	}
	for file, found := range got {
		t.Errorf("unexpected: %s: %q", file, found)
	}
}

// matches reports whether want, "linter: part of the text", is among the findings.
func matches(found []string, want string) bool {
	linter, text, _ := strings.Cut(want, ": ")
	for _, f := range found {
		if strings.HasPrefix(f, linter+": ") && strings.Contains(f, text) {
			return true
		}
	}
	return false
}

// plant writes the seeds into a module of the project's name. Every package that a seed
// imports is planted beside them, empty, so that all compiles without the network.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, ".golangci.yml"), string(config))
	replaced := map[string]bool{}
	for _, seed := range seeds {
		name := filepath.Base(filepath.Dir(seed.file))
		write(t, filepath.Join(dir, seed.file), "// Package "+name+" is a seed.\npackage "+name+"\n\n"+seed.body)
		path := imported(seed.body)
		switch {
		case strings.HasPrefix(path, module):
			sub := strings.TrimPrefix(path, module)
			write(t, filepath.Join(dir, sub, "empty.go"), empty(sub))
		case strings.Contains(path, "."):
			replaced[path] = true
			write(t, filepath.Join(dir, "replaced", path, "empty.go"), empty(path))
			write(t, filepath.Join(dir, "replaced", path, "go.mod"), "module "+path+"\n\ngo 1.26\n")
		}
	}
	write(t, filepath.Join(dir, "go.mod"), goMod(replaced))
	return dir
}

func imported(body string) string {
	_, rest, _ := strings.Cut(body, `"`)
	path, _, _ := strings.Cut(rest, `"`)
	return path
}

func empty(path string) string {
	name := filepath.Base(path)
	return "// Package " + name + " is empty.\npackage " + name + "\n"
}

func goMod(replaced map[string]bool) string {
	paths := make([]string, 0, len(replaced))
	for path := range replaced {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	var b strings.Builder
	b.WriteString("module github.com/forebaylog/forebay\n\ngo 1.26\n")
	for _, path := range paths {
		version := "v0.0.0"
		if major := filepath.Base(path); len(major) == 2 && major[0] == 'v' {
			version = major + ".0.0"
		}
		fmt.Fprintf(&b, "\nrequire %s %s\nreplace %s => ./replaced/%s\n", path, version, path, path)
	}
	return b.String()
}

func write(t *testing.T, name, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run returns what the linters found, by file.
func run(t *testing.T, linter, dir string) map[string][]string {
	t.Helper()
	cmd := exec.Command(linter, "run", "--enable-only", "depguard,forbidigo,funlen",
		"--output.json.path", "stdout", "--show-stats=false", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("run golangci-lint: %v\n%s", err, stderr.String())
	}
	var report struct {
		Issues []struct {
			FromLinter, Text string
			Pos              struct{ Filename string }
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("read the report: %v\n%s%s", err, out, stderr.String())
	}
	found := map[string][]string{}
	for _, issue := range report.Issues {
		found[issue.Pos.Filename] = append(found[issue.Pos.Filename], issue.FromLinter+": "+issue.Text)
	}
	return found
}

//go:build e2e

package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree is a copy of terraform/ with what it takes from elsewhere: zips of functions and a binary, which are empty here.
type tree struct {
	dir    string // of terraform
	config string // of OpenTofu, which names the mirror of providers
	only   string // the types of resources that are named somewhere in it, with commas between them
}

var reType = regexp.MustCompile(`"(aws_\w+)"`)

// functions are those that have a zip.
var functions = []string{"api", "retention", "compaction", "collector", "sweep"}

// tools are the directories that `tools/install tofu` and `tools/install aws` print.
func tools(t *testing.T) (tofu, mirror string) {
	t.Helper()
	tofu, mirror = os.Getenv("FOREBAY_TOFU"), os.Getenv("FOREBAY_AWS_MIRROR")
	require.True(t, tofu != "" && mirror != "", "FOREBAY_TOFU and FOREBAY_AWS_MIRROR name what these tests run: use make terraform")
	return tofu, mirror
}

func newTree(t *testing.T) tree {
	t.Helper()
	_, mirror := tools(t)
	root := t.TempDir()
	tr := tree{dir: filepath.Join(root, "terraform"), config: filepath.Join(root, "tofurc")}
	write(t, tr.config, fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	write(t, filepath.Join(root, "bin", "forebay-arm64"), "a broker")
	for _, f := range functions {
		for _, arch := range []string{"arm64", "amd64"} {
			write(t, filepath.Join(root, "bin", "functions", f+"-"+arch+".zip"), f)
		}
	}
	types := map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && (d.Name() == ".terraform" || d.Name() == "check") {
				return filepath.SkipDir
			}
			return err
		}
		if strings.HasSuffix(path, ".lock.hcl") || strings.Contains(path, ".tfstate") {
			return nil
		}
		body, err := os.ReadFile(path)
		require.NoError(t, err)
		write(t, filepath.Join(tr.dir, strings.TrimPrefix(path, "..")), string(body))
		for _, m := range reType.FindAllStringSubmatch(string(body), -1) {
			types[m[1]] = true
		}
		return nil
	}))
	tr.only = strings.Join(slices.Sorted(maps.Keys(types)), ",")
	return tr
}

func write(t *testing.T, path, body string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(body), 0o644))
}

// dirs are the directories with a configuration, relative to the tree.
func (tr tree) dirs(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(tr.dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for i := range found {
		found[i], err = filepath.Rel(tr.dir, found[i])
		require.NoError(t, err)
	}
	return found
}

// run runs OpenTofu in a directory of the tree and returns what it printed; with an error what it printed is in it.
func (tr tree) run(ctx context.Context, t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	tofu, _ := tools(t)
	return tr.exec(ctx, dir, filepath.Join(tofu, "tofu"), args...)
}

func (tr tree) exec(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(tr.dir, dir)
	for _, v := range os.Environ() { // of the machine, but nothing that changes what is planned
		if !strings.HasPrefix(v, "TF_") && !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "TOFU_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+tr.config, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "NO_COLOR=1", "TF_CLI_ARGS=-no-color",
		"TFPROVIDER_ONLY="+tr.only, "TF_VAR_binary=s3://artifacts/forebay-arm64")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s in %s: %w\n%s\n%s", filepath.Base(name), strings.Join(args, " "), dir, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// init installs the providers and modules of a directory.
func (tr tree) init(ctx context.Context, t *testing.T, dir string) error {
	t.Helper()
	_, err := tr.run(ctx, t, dir, "init")
	return err
}

// outputs applies a directory with variables, to nothing that was there before, and returns its outputs.
func (tr tree) outputs(ctx context.Context, t *testing.T, dir string, vars map[string]string) (map[string]json.RawMessage, error) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "tfstate")
	args := []string{"apply", "-auto-approve", "-state=" + state}
	for name, value := range vars {
		args = append(args, "-var="+name+"="+value)
	}
	if _, err := tr.run(ctx, t, dir, args...); err != nil {
		return nil, err
	}
	text, err := tr.run(ctx, t, dir, "output", "-json", "-state="+state)
	if err != nil {
		return nil, err
	}
	var read map[string]struct{ Value json.RawMessage }
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return nil, err
	}
	outputs := map[string]json.RawMessage{}
	for name, o := range read {
		outputs[name] = o.Value
	}
	return outputs, nil
}

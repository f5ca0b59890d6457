//go:build e2e

package laptop

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// root is the checkout.
const root = "../../.."

// instructions are the lines of the Dockerfile that begin with a word, without it.
func instructions(t *testing.T, word string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, word+" "); ok {
			all = append(all, strings.TrimSpace(rest))
		}
	}
	require.NotEmpty(t, all, "the Dockerfile has no %s", word)
	return all
}

// instruction is the only one of a word.
func instruction(t *testing.T, word string) string {
	t.Helper()
	all := instructions(t, word)
	require.Len(t, all, 1, word)
	return all[0]
}

// list reads the JSON form of a command.
func list(t *testing.T, text string) (words []string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &words), text)
	return words
}

// TestMain keeps what the tests share in a directory that it removes.
func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "forebay-laptop-"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e cannot start:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(shared)
	os.Exit(code)
}

var shared string

// buildImage builds the binary as the Dockerfile does, once, and returns its path.
func buildImage(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(shared, "forebay")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	all := instructions(t, "RUN")
	i := slices.IndexFunc(all, func(line string) bool { return strings.Contains(line, "go build") })
	require.GreaterOrEqual(t, i, 0, "the Dockerfile builds nothing")
	require.Contains(t, all[i], "/out/forebay")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(all[i], "/out/", shared+"/"))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "VERSION=v1.2.3-test")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return binary
}

// imageEnv is the environment that the image sets, NAME=value.
func imageEnv(t *testing.T) []string {
	t.Helper()
	return instructions(t, "ENV")
}

func TestImage(t *testing.T) {
	binary := buildImage(t)
	file, err := elf.Open(binary)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	for _, p := range file.Progs {
		require.NotContains(t, []elf.ProgType{elf.PT_INTERP, elf.PT_DYNAMIC}, p.Type, "the binary must be static: the image has no C library")
	}
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	var settings []string
	for _, s := range info.Settings {
		settings = append(settings, s.Key+"="+s.Value)
	}
	require.Subset(t, settings, []string{"CGO_ENABLED=0", "-trimpath=true"})
	said, err := exec.CommandContext(t.Context(), binary, "version").Output()
	require.NoError(t, err)
	require.Contains(t, string(said), "forebay v1.2.3-test ")

	user, _, _ := strings.Cut(instruction(t, "USER"), ":")
	require.Regexp(t, regexp.MustCompile("^[1-9][0-9]*$"), user, "a number other than root's, so that Kubernetes can check it")
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.GoVersion}}").Output()
	require.NoError(t, err)
	minor := regexp.MustCompile(`^\d+\.\d+`).FindString(string(version))
	require.Contains(t, instructions(t, "FROM")[0], "golang:"+minor+"-", "go.mod names another version of Go")
}

// The image as it is started without arguments, and its own health check.
func TestImageAlone(t *testing.T) {
	binary, dir := buildImage(t), filepath.Join(t.TempDir(), "data")
	kafka, admin := freeAddr(t), freeAddr(t)
	_, port, err := net.SplitHostPort(kafka)
	require.NoError(t, err)
	here := strings.NewReplacer("/var/lib/forebay", dir, "0.0.0.0:9092", kafka, "0.0.0.0:8080", admin, "localhost:9092", "localhost:"+port)
	run := func(words []string) *exec.Cmd {
		require.Equal(t, "forebay", words[0])
		for i := range words {
			words[i] = here.Replace(words[i])
		}
		cmd := exec.CommandContext(t.Context(), binary, words[1:]...)
		cmd.Env = os.Environ()
		for _, e := range imageEnv(t) {
			cmd.Env = append(cmd.Env, here.Replace(e))
		}
		return cmd
	}
	p, err := rig.StartProcess("image", run(append(list(t, instruction(t, "ENTRYPOINT")), list(t, instruction(t, "CMD"))...)))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Kill()) }()

	_, health, ok := strings.Cut(instruction(t, "HEALTHCHECK"), "CMD ")
	require.True(t, ok)
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	require.NoError(t, p.Await(ctx, func(context.Context) error { return run(list(t, health)).Run() }))
	require.DirExists(t, dir)
	requireServes(t, "localhost:"+port)
	_, err = p.Stop(graceOfDocker)
	require.NoError(t, err)
	require.Error(t, run(list(t, health)).Run(), "nothing runs any more")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := rig.FreeAddr()
	require.NoError(t, err)
	return addr
}

//go:build e2e

package check

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// format is what `tofu fmt` has to say.
func (tr tree) format(ctx context.Context, t *testing.T) error {
	t.Helper()
	_, err := tr.run(ctx, t, ".", "fmt", "-check", "-diff", "-recursive")
	return err
}

// lint is what tflint has to say.
func (tr tree) lint(ctx context.Context, t *testing.T) error {
	t.Helper()
	tofu, _ := tools(t)
	_, err := tr.exec(ctx, ".", filepath.Join(tofu, "tflint"), "--recursive", "--config="+filepath.Join(tr.dir, ".tflint.hcl"))
	return err
}

// prove validates a directory and runs its tests.
func (tr tree) prove(ctx context.Context, t *testing.T, dir string) error {
	t.Helper()
	if err := tr.init(ctx, t, dir); err != nil {
		return err
	}
	if _, err := tr.run(ctx, t, dir, "validate"); err != nil {
		return err
	}
	_, err := tr.run(ctx, t, dir, "test")
	return err
}

func TestFormatted(t *testing.T) { require.NoError(t, newTree(t).format(t.Context(), t)) }

func TestLinted(t *testing.T) { require.NoError(t, newTree(t).lint(t.Context(), t)) }

// TestModules: each module, and the root module, is valid and passes its own tests, of which it has some.
func TestModules(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	for _, dir := range append(tr.dirs(t, "modules/*"), ".") {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			require.NotEmpty(t, tr.dirs(t, filepath.Join(dir, "tests", "*.tftest.hcl")))
			require.FileExists(t, filepath.Join(tr.dir, dir, "README.md"))
			require.NoError(t, tr.prove(t.Context(), t, dir))
		})
	}
}

// TestExamples: each can be applied, and changes nothing when it is applied again.
func TestExamples(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	for _, dir := range tr.dirs(t, "examples/*") {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, tr.init(t.Context(), t, dir))
			_, err := tr.run(t.Context(), t, dir, "apply", "-auto-approve")
			require.NoError(t, err)
			_, err = tr.run(t.Context(), t, dir, "plan", "-detailed-exitcode") // 2 if anything would change
			require.NoError(t, err)
			if filepath.Base(dir) == "complete" {
				tr.checkStart(t, dir)
			}
		})
	}
}

// checkStart: what the machines of an example run is a script, and sets what a broker knows.
func (tr tree) checkStart(t *testing.T, dir string) {
	t.Helper()
	text, err := tr.run(t.Context(), t, dir, "show", "-json")
	require.NoError(t, err)
	scripts := regexp.MustCompile(`"user_data":"([A-Za-z0-9+/=]+)"`).FindAllStringSubmatch(text, -1)
	require.Len(t, scripts, 3)
	known := brokerEnvironment(t)
	for _, m := range scripts {
		script, err := base64.StdEncoding.DecodeString(m[1])
		require.NoError(t, err)
		bash := exec.CommandContext(t.Context(), "bash", "-n")
		bash.Stdin = strings.NewReader(string(script))
		out, err := bash.CombinedOutput()
		require.NoError(t, err, "%s\n%s", out, script)
		set := regexp.MustCompile(`(?m)^(FOREBAY_\w+)=`).FindAllStringSubmatch(string(script), -1)
		require.NotEmpty(t, set)
		for _, s := range set {
			require.Contains(t, known, s[1], "a broker has no such setting")
		}
	}
}

// brokerEnvironment are the variables that `forebay broker` reads, from its own help.
func brokerEnvironment(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "run", "../../cmd/forebay", "broker", "--help").CombinedOutput()
	require.NoError(t, err, string(out))
	var names []string
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		names = append(names, "FOREBAY_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")))
	}
	require.Contains(t, names, "FOREBAY_NODE_ID")
	return names
}

// TestEveryFunctionIsDeployed: a main that is added is added to the modules, too.
func TestEveryFunctionIsDeployed(t *testing.T) {
	mains, err := filepath.Glob("../../functions/*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, mains)
	for _, m := range mains {
		require.True(t, slices.Contains(functions, filepath.Base(filepath.Dir(m))), "%s is in no module: see modules/functions", m)
	}
}

// functionsCode is all code of the functions.
func functionsCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	require.NoError(t, filepath.WalkDir("../../functions", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	}))
	return code.String()
}

// TestFunctionEnvironment: functions are told what they read.
func TestFunctionEnvironment(t *testing.T) {
	body, err := os.ReadFile("../modules/functions/main.tf")
	require.NoError(t, err)
	code := functionsCode(t)
	names := regexp.MustCompile(`FOREBAY_\w+`).FindAllString(string(body), -1)
	require.Contains(t, names, "FOREBAY_OBJECT_STORE")
	require.Contains(t, names, "FOREBAY_ADMIN_WRITERS")
	for _, name := range names {
		require.True(t, strings.Contains(code, `"`+name+`"`), "no function reads %s", name)
	}
}

// TestAlarmsAreOnMetricsThatThereAre: functions log what alarms look for, with the dimensions that they have.
func TestAlarmsAreOnMetricsThatThereAre(t *testing.T) {
	body, err := os.ReadFile("../modules/monitoring/main.tf")
	require.NoError(t, err)
	code := functionsCode(t)
	own := regexp.MustCompile(`namespace +?= "Forebay"\n +metric_name +?= ("\w+")\n +dimensions +?= { (\w+) = local.cluster, (\w+) = each.key }`).FindAllStringSubmatch(string(body), -1)
	require.Len(t, own, 2)
	for _, m := range own {
		require.True(t, strings.Contains(code, m[1]), "no function has the metric %s", m[1])
		require.True(t, strings.Contains(code, fmt.Sprintf(`[][]string{{%q, %q}}`, m[2], m[3])), "metrics of functions have not the dimensions %s and %s", m[2], m[3])
	}
	message := regexp.MustCompile(`msg = \\("[\w ]+)\\"`).FindStringSubmatch(string(body))
	require.NotNil(t, message)
	require.True(t, strings.Contains(code, message[1]+`"`), "no function logs %s", message[1])
}

func decode[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(raw, &v), string(raw))
	return v
}

package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

const root = "../.."

var promqlParser = parser.NewParser(parser.Options{})

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (\\w+) \\| ([^|]*) \\|")

// exposed returns the labels of the series that there are, by name: those of docs/metrics.md,
// which is made from what nodes answer, and a few that every scrape has.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	known := map[string][]string{"up": nil, "process_resident_memory_bytes": nil}
	for _, m := range metricRow.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		names := regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(m[3], -1)
		var of []string
		for _, n := range names {
			of = append(of, n[1])
		}
		if m[2] == "histogram" {
			known[m[1]+"_bucket"] = append(of, "le")
			known[m[1]+"_sum"], known[m[1]+"_count"] = of, of
			continue
		}
		known[m[1]] = of
	}
	if len(known) < 80 {
		t.Fatalf("only %d metrics in docs/metrics.md", len(known))
	}
	for name := range known {
		known[name] = append(slices.Clone(known[name]), "job", "instance")
	}
	return known
}

// wrong says what an expression names that there is not.
func wrong(known map[string][]string, expr string) error {
	e, err := promqlParser.ParseExpr(expr)
	if err != nil {
		return err
	}
	var of []string // labels of all that is selected
	selected := 0
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		selected++
		has, ok := known[v.Name]
		if !ok {
			err = fmt.Errorf("there is no metric %q", v.Name)
		}
		of = append(of, has...)
		for _, m := range v.LabelMatchers {
			if ok && m.Name != labels.MetricName && !slices.Contains(has, m.Name) {
				err = fmt.Errorf("%s has no label %q", v.Name, m.Name)
			}
		}
		return nil
	})
	if selected == 0 {
		return fmt.Errorf("%s selects nothing", expr)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		var grouping []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			grouping = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				grouping = n.VectorMatching.MatchingLabels
			}
		}
		for _, l := range grouping {
			if !slices.Contains(of, l) {
				err = fmt.Errorf("groups by %q, which nothing in it has", l)
			}
		}
		return nil
	})
	return err
}

func TestWrongFinds(t *testing.T) {
	known := exposed(t)
	for _, expr := range []string{
		`forebay_nothing`, `forebay_seal_failures{topic="t"}`, `sum by (topic) (forebay_seal_failures)`, `forebay_commit_seconds`, `sum(`, `1 + 1`,
		`forebay_seal_failures and on (topic) forebay_seal_paused`,
	} {
		if wrong(known, expr) == nil {
			t.Errorf("nothing is found wrong with %s", expr)
		}
	}
	if err := wrong(known, `histogram_quantile(0.5, sum by (le, job) (rate(forebay_commit_seconds_bucket[5m])))`); err != nil {
		t.Error(err)
	}
}

type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, LegendFormat string }
	}
}

var (
	labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)
	variable    = regexp.MustCompile(`\$(\w+)`)
)

func TestDashboards(t *testing.T) {
	known := exposed(t)
	files, err := filepath.Glob(filepath.Join(root, "infra/monitoring/dashboards/*.json"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID+".json" != filepath.Base(file) || uids[d.UID] || d.Title == "" {
			t.Errorf("%s: uid %q, title %q", file, d.UID, d.Title)
		}
		uids[d.UID] = true
		checkDashboard(t, known, d)
	}
}

func checkDashboard(t *testing.T, known map[string][]string, d dashboard) {
	t.Helper()
	set := map[string]string{"__rate_interval": "5m"}
	for _, v := range d.Templating.List {
		set[v.Name] = "1"
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("%s: variable %s: %s", d.UID, v.Name, v.Definition)
			continue
		}
		if err := wrong(known, fmt.Sprintf("sum by (%s) (%s)", m[2], expand(t, set, m[1]))); err != nil {
			t.Errorf("%s: variable %s: %v", d.UID, v.Name, err)
		}
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: panel %d %q is there twice or does not fit", d.UID, p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s: panels %q and %q overlap", d.UID, p.Title, q.Title)
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: panel %q shows nothing", d.UID, p.Title)
		}
		for _, target := range p.Targets {
			expr := expand(t, set, target.Expr)
			if err := wrong(known, expr); err != nil {
				t.Errorf("%s: panel %q: %s: %v", d.UID, p.Title, target.Expr, err)
			}
			for _, l := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(expr, "by") || !strings.Contains(expr, l[1]) {
					if err := wrong(known, fmt.Sprintf("sum by (%s) (%s)", l[1], expr)); err != nil || strings.Contains(expr, "by (") {
						t.Errorf("%s: panel %q: the legend names %s, which %s does not have", d.UID, p.Title, l[1], target.Expr)
					}
				}
			}
		}
	}
}

// expand replaces the variables of Grafana, which must be known.
func expand(t *testing.T, set map[string]string, expr string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(expr, func(v string) string {
		value, ok := set[v[1:]]
		if !ok {
			t.Errorf("%s: there is no variable %s", expr, v)
		}
		return value
	})
}

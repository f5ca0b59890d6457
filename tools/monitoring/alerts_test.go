package monitoring

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

const alertsFile = "infra/monitoring/alerts.yaml"

var discard = slog.New(slog.DiscardHandler)

// alerts returns the rules, each of which is an alert.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(root, alertsFile), false, model.UTF8Validation, promqlParser, discard)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var all []rulefmt.Rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// anchors returns the anchors of the headings of a page.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		slug := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return all
}

func TestAlertRules(t *testing.T) {
	known, headings, names := exposed(t), anchors(read(t, "docs/operations.md")), map[string]bool{}
	for _, r := range alerts(t) {
		if r.Alert == "" || names[r.Alert] {
			t.Errorf("alert %q is none, or there twice", r.Alert)
		}
		names[r.Alert] = true
		if err := wrong(known, r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if page != "docs/operations.md" || anchor != strings.ToLower(r.Alert) || !headings[anchor] {
			t.Errorf("%s: there is no runbook %q", r.Alert, r.Annotations["runbook_url"])
		}
		if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
			t.Errorf("%s: severity %q, summary %q", r.Alert, r.Labels["severity"], r.Annotations["summary"])
		}
	}
}

// firing is a case of alerts_test.yaml.
type firing struct {
	Series map[string]string
	At     model.Duration
	Firing map[string][]map[string]string
}

func TestAlertsFire(t *testing.T) {
	var cases []firing
	if err := yaml.Unmarshal([]byte(read(t, "infra/monitoring/alerts_test.yaml")), &cases); err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for i, c := range cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			want := map[string][]string{}
			for name, of := range c.Firing {
				fired[name] = true
				for _, l := range of {
					l["alertname"] = name
					want[name] = append(want[name], labels.FromMap(l).String())
				}
				slices.Sort(want[name])
			}
			if got := evaluated(t, c); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("firing:\n%v\nwant:\n%v", got, want)
			}
		})
	}
	for _, r := range alerts(t) {
		if !fired[r.Alert] {
			t.Errorf("no case has %s firing", r.Alert)
		}
	}
}

// evaluated returns the labels of the alerts that fire at the time of a case, by name.
func evaluated(t *testing.T, c firing) map[string][]string {
	t.Helper()
	load := "load 1m\n"
	for series, values := range c.Series {
		load += "  " + series + " " + values + "\n"
	}
	store := promqltest.LoadedStorage(t, load)
	engine := promqltest.NewTestEngineWithOpts(t, promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: promqlParser})
	var all []*rules.AlertingRule
	for _, r := range alerts(t) {
		expr, err := promqlParser.ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, discard))
	}
	query := rules.EngineQueryFunc(engine, store)
	for at := time.Duration(0); at <= time.Duration(c.At); at += time.Minute {
		for _, r := range all {
			if _, err := r.Eval(context.Background(), 0, time.Unix(0, 0).Add(at), query, &url.URL{}, 0); err != nil {
				t.Fatalf("%s at %v: %v", r.Name(), at, err)
			}
		}
	}
	got := map[string][]string{}
	for _, r := range all {
		for _, a := range r.ActiveAlerts() {
			if a.State == rules.StateFiring {
				got[r.Name()] = append(got[r.Name()], a.Labels.String())
			}
		}
		slices.Sort(got[r.Name()])
		if len(got[r.Name()]) == 0 {
			delete(got, r.Name())
		}
	}
	return got
}

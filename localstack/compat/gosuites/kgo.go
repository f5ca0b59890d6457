package gosuites

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// franz is the suite of franz-go's client: production, consumption by groups of every balancer,
// and transactions, of half a million records each.
func franz() suite.Suite {
	return suite.Suite{
		Name: "kgo", About: "own suite of the Go client franz-go 1.22.2", Nodes: []int{1, 3},
		Settings: noRebalanceDelay, Limit: 15 * time.Minute,
		Known: map[string]string{},
		Prepare: func(ctx context.Context, tools string, log io.Writer) error {
			dir, err := install(ctx, tools, franzModule, log)
			if err != nil {
				return err
			}
			return build(ctx, filepath.Join(dir, "pkg", "kgo"), log, "test", "-run", "^$", ".")
		},
		Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
			return goTest{
				dir: filepath.Join(sources(t.Tools, franzModule), "pkg", "kgo"),
				env: []string{
					"KGO_TEST_RF=1", "KGO_SEEDS=" + strings.Join(t.Brokers, ","), "KGO_TEST_RECORDS=100000", "KGO_LOG_LEVEL=none",
				},
				args: []string{"-timeout", "14m", "."},
			}.run(ctx, t.Log)
		},
	}
}

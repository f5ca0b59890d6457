package broker

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker/group"
)

// groupMetrics counts what the groups of this broker do. No label names a group.
type groupMetrics struct {
	rebalances prometheus.Counter
	commits    prometheus.Counter
	expired    prometheus.Counter
	states     *prometheus.Desc
	members    *prometheus.Desc
}

func newGroupMetrics(reg prometheus.Registerer) (*groupMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &groupMetrics{
		rebalances: counter("forebay_group_rebalances_total", "Rebalances that ended with an assignment for every member."),
		commits:    counter("forebay_group_offset_commits_total", "Offsets committed, counted by partition."),
		expired:    counter("forebay_group_offsets_expired_total", "Offsets removed because their retention was over or their topic had gone."),
		states:     prometheus.NewDesc("forebay_groups", "Groups in memory, by state.", []string{"state"}, nil),
		members:    prometheus.NewDesc("forebay_group_members", "Members of all groups.", nil, nil),
	}
	for _, c := range []prometheus.Collector{m.rebalances, m.commits, m.expired} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register group metrics: %w", err)
		}
	}
	return m, nil
}

// watch adds the gauges, which are read from the groups themselves.
func (g *groupMetrics) watch(reg prometheus.Registerer, m *groups) error {
	if err := reg.Register(groupGauges{g, m}); err != nil {
		return fmt.Errorf("register group metrics: %w", err)
	}
	return nil
}

// groupGauges collects the gauges.
type groupGauges struct {
	*groupMetrics
	groups *groups
}

// Describe implements prometheus.Collector.
func (g groupGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.states; ch <- g.members }

// Collect implements prometheus.Collector.
func (g groupGauges) Collect(ch chan<- prometheus.Metric) {
	var states [group.Dead + 1]int
	members := 0
	m := g.groups
	m.mu.Lock()
	for _, e := range m.byID {
		if e.state != nil && e.state.Created() {
			states[e.state.State()]++
			members += e.state.Size()
		}
	}
	m.mu.Unlock()
	for s, n := range states {
		ch <- prometheus.MustNewConstMetric(g.states, prometheus.GaugeValue, float64(n), group.State(s).String())
	}
	ch <- prometheus.MustNewConstMetric(g.members, prometheus.GaugeValue, float64(members))
}

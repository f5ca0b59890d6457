package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// statusGroups is how many groups the page shows: those that are the farthest behind.
const statusGroups = 8

func newStatus() *cobra.Command {
	var out output
	var client clientFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a cluster on one screen",
		Long: `Show a cluster on one screen: the brokers with what they lead and hold, the partitions that have no
leader, and the groups that are the farthest behind. For more see topic describe, group describe and tiering
status; for what is wrong and how to mend it, doctor.`,
		Example: "  forebay status\n  watch -n 5 forebay status -b broker-1:9092",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				s, err := statusOf(ctx, adm)
				if err != nil {
					return err
				}
				return out.print(cmd, s, s.tables()...)
			})
		},
	}
	client.register(cmd.Flags())
	out.register(cmd.Flags())
	return cmd
}

// clusterStatus is the output of status.
type clusterStatus struct {
	Cluster    string         `json:"cluster"`
	At         time.Time      `json:"at"`
	Topics     int            `json:"topics"` // internal ones are left out
	Partitions int            `json:"partitions"`
	Leaderless []string       `json:"leaderless"` // TOPIC-PARTITION
	Brokers    []brokerStatus `json:"brokers"`
	Groups     []groupStatus  `json:"groups"` // all, the farthest behind first
	Metadata   *metadataLevel `json:"metadata_level,omitempty"`
}

type brokerStatus struct {
	tieringState
	Address string `json:"address"`
	Rack    string `json:"rack,omitempty"`
	Leaders int    `json:"leaders"`
}

type groupStatus struct {
	Group   string `json:"group"`
	State   string `json:"state"`
	Members int    `json:"members"`
	Topics  int    `json:"topics"`
	Lag     int64  `json:"lag"` // records
}

// statusOf asks the brokers.
func statusOf(ctx context.Context, adm *kadm.Client) (*clusterStatus, error) {
	meta, err := adm.Metadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the metadata: %w", err)
	}
	states, err := tieringStates(ctx, adm)
	if err != nil {
		return nil, err
	}
	s := &clusterStatus{Cluster: meta.Cluster, At: time.Now().UTC().Truncate(time.Second), Leaderless: []string{}, Groups: []groupStatus{}}
	for _, b := range meta.Brokers {
		i := slices.IndexFunc(states, func(t tieringState) bool { return t.Broker == b.NodeID })
		if i < 0 {
			continue // came or went meanwhile
		}
		status := brokerStatus{tieringState: states[i], Address: fmt.Sprintf("%s:%d", b.Host, b.Port)}
		if b.Rack != nil {
			status.Rack = *b.Rack
		}
		s.Brokers = append(s.Brokers, status)
	}
	slices.SortFunc(s.Brokers, func(a, b brokerStatus) int { return cmp.Compare(a.Broker, b.Broker) })
	sizes, err := logSizes(ctx, adm, nil)
	if err != nil {
		return nil, err
	}
	for _, t := range meta.Topics.Sorted() {
		s.count(t, sizes)
	}
	if s.Metadata, err = levelOf(ctx, adm); err != nil {
		return nil, err
	}
	return s, s.addGroups(ctx, adm)
}

// count counts a topic in.
func (s *clusterStatus) count(t kadm.TopicDetail, sizes map[kadm.Partition]logSize) {
	if !t.IsInternal {
		s.Topics++
		s.Partitions += len(t.Partitions)
	}
	for _, p := range t.Partitions.Sorted() {
		i := slices.IndexFunc(s.Brokers, func(b brokerStatus) bool { return b.Broker == p.Leader })
		if i < 0 || p.Err != nil {
			s.Leaderless = append(s.Leaderless, fmt.Sprintf("%s-%d", t.Topic, p.Partition))
			continue
		}
		s.Brokers[i].Leaders++
		s.Brokers[i].add(sizes[kadm.Partition{Topic: t.Topic, Partition: p.Partition}])
	}
}

// addGroups adds the groups, the farthest behind first. Those whose coordinator does not answer are left out.
func (s *clusterStatus) addGroups(ctx context.Context, adm *kadm.Client) error {
	lags, err := adm.Lag(ctx)
	if err != nil && len(lags) == 0 {
		return fmt.Errorf("ask for the groups: %w", err)
	}
	for _, l := range lags {
		if l.Error() == nil {
			s.Groups = append(s.Groups, groupStatus{l.Group, l.State, len(l.Members), len(l.Lag), l.Lag.Total()})
		}
	}
	slices.SortFunc(s.Groups, func(a, b groupStatus) int {
		return cmp.Or(cmp.Compare(b.Lag, a.Lag), cmp.Compare(a.Group, b.Group))
	})
	return nil
}

// tables is the page.
func (s *clusterStatus) tables() []*table {
	brokers := newTable("BROKER", "ADDRESS", "RACK", "LEADERS", "HOT", "SEALED", "WAL", "LAG", "SEALING")
	brokers.title = fmt.Sprintf("Cluster %s at %s: %d brokers, %d topics, %d partitions", s.Cluster, s.At.Format(time.RFC3339), len(s.Brokers), s.Topics, s.Partitions)
	size := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return humanize.IBytes(uint64(max(*n, 0))) //nolint:gosec // not negative
	}
	for _, b := range s.Brokers {
		sealing := "on"
		if !b.Sealing {
			sealing = "paused"
		}
		brokers.add(b.Broker, b.Address, cmp.Or(b.Rack, "-"), b.Leaders, size(&b.Hot), size(&b.Sealed), size(b.WAL), b.Lag, sealing)
	}
	tables := []*table{brokers}
	if behind := s.Metadata.behind(); behind != "" {
		t := newTable()
		t.title = behind
		t.add("  " + s.Metadata.raiseHint())
		tables = append(tables, t)
	}
	if n := len(s.Leaderless); n > 0 {
		t := newTable()
		t.title = fmt.Sprintf("%d partitions have no leader:", n)
		for _, p := range s.Leaderless[:min(n, statusGroups)] {
			t.add("  " + p)
		}
		tables = append(tables, t)
	}
	if len(s.Groups) > 0 {
		t := newTable("GROUP", "STATE", "MEMBERS", "TOPICS", "LAG")
		t.title = fmt.Sprintf("%d groups, the farthest behind first", len(s.Groups))
		for _, g := range s.Groups[:min(len(s.Groups), statusGroups)] {
			t.add(g.Group, g.State, g.Members, g.Topics, g.Lag)
		}
		tables = append(tables, t)
	}
	return tables
}

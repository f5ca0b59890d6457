package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
)

func newTieringStatus(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the tiers of each broker hold, and their settings",
		Long: `Show what the tiers of each broker hold, and their settings.

HOT, SEALED and WAL are the bytes of the partitions that the broker leads: on its disk, in packs, and
committed and not sealed yet. LAG is the number of records that are not sealed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error { return runTieringStatus(ctx, cmd, adm, out) })
		},
	}
	out.register(cmd.Flags())
	return cmd
}

// tieringState is a broker in the output of tiering status.
type tieringState struct {
	Broker      int32           `json:"broker"`
	Sealing     bool            `json:"sealing"`
	SealingFrom string          `json:"sealing_source"` // Kafka's name of where the setting comes from
	SealBefore  int64           `json:"seal_before_ms"` // 0: never asked for
	CacheBytes  int64           `json:"cache_bytes"`
	CacheFrom   string          `json:"cache_bytes_source"`
	HotBudget   int64           `json:"hot_budget_bytes"`
	HotFrom     string          `json:"hot_budget_source"`
	Hot         int64           `json:"hot_bytes"`
	Sealed      int64           `json:"sealed_bytes"`
	WAL         *int64          `json:"wal_bytes"` // null on a node alone
	Lag         int64           `json:"seal_lag"`  // records
	own         map[string]bool // configs that are set for this broker alone
}

// tieringStates asks each broker for its settings, in order of node id.
func tieringStates(ctx context.Context, adm *kadm.Client) ([]tieringState, error) {
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	ids := brokers.NodeIDs()
	slices.Sort(ids)
	resources, err := adm.DescribeBrokerConfigs(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe broker configs: %w", err)
	}
	var states []tieringState
	for _, node := range ids {
		r, err := resources.On(strconv.Itoa(int(node)), nil)
		if err == nil {
			err = kafkaError(r.Err, r.ErrMessage)
		}
		if err != nil {
			return nil, fmt.Errorf("describe the configs of broker %d: %w", node, err)
		}
		states = append(states, stateOf(node, r.Configs))
	}
	return states, nil
}

func stateOf(node int32, configs []kadm.Config) tieringState {
	s := tieringState{Broker: node, own: map[string]bool{}}
	for _, c := range configs {
		s.own[c.Key] = c.Source == kmsg.ConfigSourceDynamicBrokerConfig
		number, _ := strconv.ParseInt(c.MaybeValue(), 10, 64)
		switch c.Key {
		case config.SealEnable:
			s.Sealing, s.SealingFrom = strings.EqualFold(c.MaybeValue(), "true"), c.Source.String()
		case config.SealBefore:
			s.SealBefore = number
		case config.CacheBytes:
			s.CacheBytes, s.CacheFrom = number, c.Source.String()
		case config.HotBytes:
			s.HotBudget, s.HotFrom = number, c.Source.String()
		}
	}
	return s
}

func runTieringStatus(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output) error {
	states, err := tieringStates(ctx, adm)
	if err != nil {
		return err
	}
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	sizes, err := logSizes(ctx, adm, nil)
	if err != nil {
		return err
	}
	for key, size := range sizes {
		leader := topics[key.Topic].Partitions[key.Partition].Leader
		i := slices.IndexFunc(states, func(s tieringState) bool { return s.Broker == leader })
		if i < 0 {
			continue
		}
		states[i].add(size)
	}
	t := newTable("BROKER", "SEALING", "HOT", "HOT BUDGET", "SEALED", "WAL", "LAG", "CACHE BUDGET", "SEAL BEFORE")
	for _, s := range states {
		sealing, before := "on", "-"
		if !s.Sealing {
			sealing = "paused"
		}
		if s.SealBefore > 0 {
			before = time.UnixMilli(s.SealBefore).UTC().Format("2006-01-02T15:04:05.000Z")
		}
		t.add(s.Broker, sealing, s.Hot, s.HotBudget, s.Sealed, orDash(s.WAL), s.Lag, s.CacheBytes, before)
	}
	return out.print(cmd, states, t)
}

// add counts a partition in.
func (s *tieringState) add(size logSize) {
	for _, n := range []struct {
		to   *int64
		from *int64
	}{{&s.Hot, size.hot}, {&s.Sealed, size.sealed}, {&s.Lag, size.lag}} {
		if n.from != nil {
			*n.to += *n.from
		}
	}
	if size.wal != nil {
		sum := *size.wal
		if s.WAL != nil {
			sum += *s.WAL
		}
		s.WAL = &sum
	}
}

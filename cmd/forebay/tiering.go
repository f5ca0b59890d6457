package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/forebaylog/forebay/broker/config"
)

func newTiering() *cobra.Command {
	client := &clientFlags{}
	cmd := newNoun("tiering", "See and control how records get into the object store", `See and control how records get into the object store.

The commands set broker configs, which brokers follow while they run and keep over restarts:
`+config.SealEnable+`, `+config.SealBefore+`, `+config.CacheBytes+` and `+config.HotBytes+`.
Kafka's own tools can set and describe them, too.`,
		newTieringStatus(client), newTieringPause(client), newTieringResume(client), newTieringSeal(client), newTieringSet(client))
	client.register(cmd.PersistentFlags())
	return cmd
}

// oneBroker is the flag --broker: -1 stands for all.
type oneBroker int32

func (b *oneBroker) register(cmd *cobra.Command) {
	cmd.Flags().Int32Var((*int32)(b), "broker", -1, "node id of the one broker that it is for; -1 for all, also those to come")
}

// who names the broker or brokers in a sentence.
func (b oneBroker) who() string {
	if b < 0 {
		return "all brokers"
	}
	return fmt.Sprintf("broker %d", b)
}

func newTieringPause(client *clientFlags) *cobra.Command {
	var broker oneBroker
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Seal nothing more until resume",
		Long: `Seal nothing more until resume. Records stay where they are, on the disks of the brokers and in
the WAL, which grow meanwhile; retention and compaction reach no further than what is sealed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return alterTiering(cmd, client, broker, "Paused sealing", map[string]string{config.SealEnable: "false"})
		},
	}
	broker.register(cmd)
	return cmd
}

func newTieringResume(client *clientFlags) *cobra.Command {
	var broker oneBroker
	cmd := &cobra.Command{
		Use: "resume", Short: "Seal again after pause", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return alterTiering(cmd, client, broker, "Resumed sealing", map[string]string{config.SealEnable: "true"})
		},
	}
	broker.register(cmd)
	return cmd
}

func newTieringSet(client *clientFlags) *cobra.Command {
	var broker oneBroker
	var cache, hot int64
	cmd := &cobra.Command{
		Use:     "set",
		Short:   "Change the budgets of the tiers",
		Long:    "Change the budgets of the tiers, over the flags that brokers were started with. 0 goes back to those.",
		Example: "  forebay tiering set --cache-bytes 268435456\n  forebay tiering set --hot-bytes 10737418240 --broker 2\n  forebay tiering set --hot-bytes 0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := map[string]string{}
			for name, budget := range map[string]struct {
				flag  string
				bytes int64
			}{config.CacheBytes: {"cache-bytes", cache}, config.HotBytes: {"hot-bytes", hot}} {
				if !cmd.Flags().Changed(budget.flag) {
					continue
				}
				set[name] = ""
				if budget.bytes != 0 {
					set[name] = strconv.FormatInt(budget.bytes, 10)
				}
			}
			if len(set) == 0 {
				return usageErrorf("nothing to change: give --cache-bytes or --hot-bytes")
			}
			return alterTiering(cmd, client, broker, "Changed the budgets", set)
		},
	}
	cmd.Flags().Int64Var(&cache, "cache-bytes", 0, "memory for reads from packs")
	cmd.Flags().Int64Var(&hot, "hot-bytes", 0, "sealed hot segments kept on disk as cache")
	broker.register(cmd)
	return cmd
}

// alterTiering sets broker configs, removes those without a value, and says so.
func alterTiering(cmd *cobra.Command, client *clientFlags, broker oneBroker, done string, set map[string]string) error {
	return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		if err := setTiering(ctx, adm, broker, set); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s.\n", done, broker.who())
		return err
	})
}

// setTiering sets configs of a broker or of all. What counts for all replaces what single brokers have of their own.
func setTiering(ctx context.Context, adm *kadm.Client, broker oneBroker, set map[string]string) error {
	var changes []kadm.AlterConfig
	for _, name := range sortedKeys(set) {
		change := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name}
		if value := set[name]; value != "" {
			change.Op, change.Value = kadm.SetConfig, &value
		}
		changes = append(changes, change)
	}
	if broker >= 0 {
		return alterBroker(ctx, adm, changes, int32(broker))
	}
	if err := alterBroker(ctx, adm, changes); err != nil {
		return err
	}
	states, err := tieringStates(ctx, adm)
	if err != nil {
		return err
	}
	for _, s := range states {
		var own []kadm.AlterConfig
		for _, c := range changes {
			if s.own[c.Name] {
				own = append(own, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: c.Name})
			}
		}
		if len(own) == 0 {
			continue
		}
		if err := alterBroker(ctx, adm, own, s.Broker); err != nil {
			return err
		}
	}
	return nil
}

// alterBroker changes the configs of one broker, or those that count for all.
func alterBroker(ctx context.Context, adm *kadm.Client, changes []kadm.AlterConfig, broker ...int32) error {
	responses, err := adm.AlterBrokerConfigs(ctx, changes, broker...)
	for _, r := range responses {
		if err == nil {
			err = kafkaError(r.Err, r.ErrMessage)
		}
	}
	if err != nil {
		return fmt.Errorf("alter broker configs: %w", err)
	}
	return nil
}

func newTieringSeal(client *clientFlags) *cobra.Command {
	var broker oneBroker
	var wait bool
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal now what was written so far",
		Long: `Seal now what was written so far: brokers roll their hot segments, and what is in them goes into
packs, without waiting until they are full or old.

With --wait it returns when everything that was committed when it began is sealed, or fails at --timeout.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTieringSeal(ctx, cmd, adm, broker, wait)
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is sealed")
	broker.register(cmd)
	return cmd
}

func runTieringSeal(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, broker oneBroker, wait bool) error {
	states, err := tieringStates(ctx, adm)
	if err != nil {
		return err
	}
	for _, s := range states {
		if !s.Sealing && (broker < 0 || s.Broker == int32(broker)) {
			return fmt.Errorf("sealing is paused at broker %d: 'forebay tiering resume' first", s.Broker)
		}
	}
	ends, err := endsOf(ctx, adm, broker)
	if err != nil {
		return err
	}
	now := strconv.FormatInt(time.Now().UnixMilli()+1, 10)
	if err := setTiering(ctx, adm, broker, map[string]string{config.SealBefore: now}); err != nil {
		return err
	}
	said := "Asked %s to seal what was written so far.\n"
	if wait {
		if err := awaitSealed(ctx, adm, ends); err != nil {
			return err
		}
		said = "All that was committed at %s is sealed.\n"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), said, broker.who())
	return err
}

// endsOf are the ends of the partitions that a broker leads, or of all.
func endsOf(ctx context.Context, adm *kadm.Client, broker oneBroker) (kadm.ListedOffsets, error) {
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	if len(topics) == 0 {
		return nil, nil
	}
	ends, err := adm.ListEndOffsets(ctx, topics.Names()...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if broker >= 0 && p.Leader != int32(broker) {
				delete(ends[t.Topic], p.Partition)
			}
		}
	}
	return ends, nil
}

// The timestamp by which ListOffsets tells the last sealed offset (KIP-1005).
const latestTiered = -5

// awaitSealed waits until the partitions are sealed up to ends.
func awaitSealed(ctx context.Context, adm *kadm.Client, ends kadm.ListedOffsets) error {
	for {
		var topics []string
		for topic, ps := range ends {
			for p, end := range ps {
				if end.Err != nil || end.Offset <= 0 {
					delete(ps, p)
				}
			}
			if len(ps) > 0 {
				topics = append(topics, topic)
			}
		}
		if len(topics) == 0 {
			return nil
		}
		starts, err := adm.ListStartOffsets(ctx, topics...)
		if err != nil {
			return fmt.Errorf("list start offsets: %w", err)
		}
		sealed, err := adm.ListOffsetsAfterMilli(ctx, latestTiered, topics...)
		if err != nil {
			return fmt.Errorf("list sealed offsets: %w", err)
		}
		left := dropSealed(ends, starts, sealed)
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d partitions are not sealed yet: %w", left, context.Cause(ctx))
		}
	}
}

// dropSealed removes from ends what is sealed up to there, or gone, and returns how many are left.
func dropSealed(ends, starts, sealed kadm.ListedOffsets) (left int) {
	for topic, ps := range ends {
		for p, end := range ps {
			last, ok := sealed.Lookup(topic, p)
			start, _ := starts.Lookup(topic, p)
			if ok && last.Err == nil && last.Offset+1 >= end.Offset || start.Offset >= end.Offset {
				delete(ps, p)
				continue
			}
			left++
		}
	}
	return left
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/pause"
)

// Groups changes the offsets of consumer groups without a broker, whether or not any runs.
//
// It coordinates the group for a moment: it takes the group's shard from its leader, with the next
// epoch, so that no broker coordinates it; writes under that epoch, as package offsets says that one
// coordinator writes after another; and gives the shard back, with the epoch after that. To brokers and
// clients this is a move of the shard as any: members of the shard's groups look for the coordinator
// again, for some hundred milliseconds, and go on under their generations.
//
// Commit point: the writes of the offsets, once the metadata log has confirmed the epoch. A crash before the
// shard is given back leaves a shard that nobody leads, and offsets that are changed in part; the brokers
// give the shard a leader when they balance next, and who asked asks again. It is in the audit that
// the shard was taken, and that the change was made once it was.
//
// Offsets change only in groups without members, as in Kafka. The members are those that are stored; who is joining and has
// no assignment yet is none, and finds the changed offsets. Groups has no state and is safe for concurrent use.
type Groups struct {
	Log     *metalog.Log
	Offsets kv.Store // the table of the offsets
}

// GroupRequest is a change of a group that somebody asks for.
type GroupRequest struct {
	Who   Actor
	Group string
	// Expel ends the membership of those who are members, as if they had left: for groups whose
	// consumers are gone, where no broker has run since who could have noticed. Members that live
	// join again, and what they commit before that is refused.
	Expel bool
	// Key and Digest are as in Change.
	Key, Digest string
}

// OffsetReset is the offset that a group is to go on from.
type OffsetReset struct {
	Topic       string
	Partition   int32
	Offset      id.Offset
	LeaderEpoch id.Epoch // -1: none
	Metadata    string   // at most 4096 bytes
}

// TopicPartition names a partition by the name of its topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

const (
	maxOffsetMetadata = 4096        // bytes, offset.metadata.max.bytes of Kafka
	leaderTime        = time.Second // for another function to give the shard back
	leaderPoll        = 50 * time.Millisecond
	giveBackTime      = 10 * time.Second // for the shard to be given back, whatever has become of the request
	coordinations     = 5                // attempts to coordinate without being replaced
)

// ResetOffsets sets committed offsets; a group that does not exist comes to be. The Change returned tells
// what was appended, or Repeated. It fails with NON_EMPTY_GROUP, UNKNOWN_TOPIC_OR_PARTITION, OFFSET_OUT_OF_RANGE
// for a negative offset, COORDINATOR_NOT_AVAILABLE before there are shards, NOT_COORDINATOR when
// brokers have taken the shard at each attempt, and as Apply does. After a failure some offsets
// may be set.
func (g Groups) ResetOffsets(ctx context.Context, req GroupRequest, to []OffsetReset) (*Change, error) {
	return g.change(ctx, req, ActionResetOffsets, func(ctx context.Context, c *coordination) error {
		at, err := c.commitTime(ctx, req.Who.At)
		if err != nil {
			return err
		}
		entries := make([]offsets.Entry, len(to))
		for i, r := range to {
			p, _, err := FindPartition(g.Log.Image(), r.Topic, r.Partition)
			switch {
			case err != nil:
				return err
			case r.Offset < 0:
				return fmt.Errorf("offset %d of partition %d of topic %q: %w", r.Offset, r.Partition, r.Topic, kerr.OffsetOutOfRange)
			case len(r.Metadata) > maxOffsetMetadata:
				return fmt.Errorf("metadata of %d bytes, at most %d: %w", len(r.Metadata), maxOffsetMetadata, kerr.OffsetMetadataTooLarge)
			}
			entries[i] = offsets.Entry{
				Topic: p.Topic, TopicName: r.Topic, Partition: r.Partition, Offset: r.Offset,
				LeaderEpoch: r.LeaderEpoch, Metadata: r.Metadata, CommitTime: at,
			}
		}
		return c.table.Commit(ctx, c.stored, c.epoch, entries)
	})
}

// DeleteOffsets removes the committed offsets of partitions; one that has none is no error. It fails as
// ResetOffsets does, and with UNSTABLE_OFFSET_COMMIT while a transaction has offsets of the group pending.
func (g Groups) DeleteOffsets(ctx context.Context, req GroupRequest, from []TopicPartition) (*Change, error) {
	return g.change(ctx, req, ActionDeleteOffsets, func(ctx context.Context, c *coordination) error {
		partitions := make([]id.Partition, len(from))
		for i, tp := range from {
			p, _, err := FindPartition(g.Log.Image(), tp.Topic, tp.Partition)
			if err != nil {
				return err
			}
			partitions[i] = p
		}
		if err := c.nothingPending(ctx); err != nil {
			return err
		}
		return c.table.Delete(ctx, c.stored, c.epoch, partitions...)
	})
}

// DeleteGroup removes a group with all its offsets. It fails as DeleteOffsets does, and with
// GROUP_ID_NOT_FOUND.
func (g Groups) DeleteGroup(ctx context.Context, req GroupRequest) (*Change, error) {
	return g.change(ctx, req, ActionDeleteGroup, func(ctx context.Context, c *coordination) error {
		if !c.known {
			return fmt.Errorf("group %q: %w", req.Group, group.ErrNotFound)
		}
		if err := c.nothingPending(ctx); err != nil {
			return err
		}
		return c.table.DeleteGroup(ctx, c.stored, c.epoch)
	})
}

// change coordinates the group while work runs. When a broker has taken the shard meanwhile, which makes
// nothing of it count, it begins anew.
func (g Groups) change(ctx context.Context, req GroupRequest, action string, work func(context.Context, *coordination) error) (*Change, error) {
	var ch *Change
	var err error
	for range coordinations {
		if ch, err = g.attempt(ctx, req, action, work); !errors.Is(err, offsets.ErrFenced) {
			break
		}
	}
	if err != nil {
		return ch, fmt.Errorf("%s %q: %w", action, req.Group, err)
	}
	return ch, nil
}

func (g Groups) attempt(ctx context.Context, req GroupRequest, action string, work func(context.Context, *coordination) error) (*Change, error) {
	c := &coordination{log: g.Log, stored: group.StoredName(req.Group), group: req.Group}
	c.table = offsets.Open(g.Offsets, c)
	done := &Change{
		Action: action, Resource: metalog.Resource{Type: metalog.ResourceGroup, Name: req.Group}, Key: req.Key, Digest: req.Digest, Size: 256,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			if back := c.back(img); back != nil {
				return back, nil
			}
			return []metalog.Record{metalog.TargetsSet{}}, nil // a broker has the shard already: only for the audit
		},
	}
	if err := g.Log.Refresh(ctx); err != nil {
		return done, err
	}
	if Validate(g.Log.Image(), req.Who, done); done.Err != nil || done.Repeated != nil {
		return done, done.Err
	}
	if err := c.lookFirst(ctx, req.Expel); err != nil { // the shard need not be moved to refuse this
		return done, err
	}
	err := c.awaitLeader(ctx)
	if err == nil {
		err = c.take(ctx, req)
	}
	if err == nil {
		if err = c.load(ctx, req); err == nil {
			err = work(ctx, c)
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	if errors.Is(err, errKeyTaken) { // by a request that has made its change meanwhile
		Validate(g.Log.Image(), req.Who, done)
		return done, done.Err
	}
	if err != nil {
		return done, errors.Join(err, c.giveBack(ending))
	}
	if Apply(ending, g.Log, req.Who, done); done.Version == 0 { // nothing was appended: the shard is still taken
		return done, errors.Join(done.Err, c.giveBack(ending))
	}
	return done, done.Err
}

// errKeyTaken says that the idempotency key is remembered.
var errKeyTaken = errors.New("idempotency key is known")

// coordination is one moment in which a function coordinates a group. It is the Authority of its epoch.
type coordination struct {
	log    *metalog.Log
	table  *offsets.Table
	group  string
	stored string

	taken  bool // as far as is known
	shard  id.Partition
	epoch  id.Epoch
	former metalog.PartitionState // of the shard, before it was taken

	entries []offsets.Entry
	known   bool // the group has offsets, or a state
}

// Refresh implements offsets.Authority.
func (c *coordination) Refresh(ctx context.Context) error { return c.log.Refresh(ctx) }

// Holds implements offsets.Authority.
func (c *coordination) Holds(_ string, epoch id.Epoch) bool {
	return epoch == c.epoch && c.holds(c.log.Image())
}

// holds reports whether the shard is still as it was taken.
func (c *coordination) holds(img *metalog.Image) bool {
	p, ok := img.Partition(c.shard)
	return c.taken && ok && p.Leader == metalog.NoBroker && p.Epoch == c.epoch
}

// lookFirst refuses what can be refused without coordinating the group.
func (c *coordination) lookFirst(ctx context.Context, expel bool) error {
	stored, err := c.table.ReadState(ctx, c.stored)
	if err != nil || expel {
		return err
	}
	_, err = emptyState(stored)
	return err
}

// emptyState reads the state of a group, and fails with group.ErrNotEmpty if it has members.
func emptyState(stored []byte) (group.Snapshot, error) {
	if stored == nil {
		return group.Snapshot{}, nil
	}
	s, err := group.DecodeSnapshot(stored)
	if err == nil && len(s.Members) > 0 {
		err = fmt.Errorf("%w: %d members of generation %d", group.ErrNotEmpty, len(s.Members), s.Generation)
	}
	return s, err
}

// awaitLeader waits a moment for a shard that nobody leads: another function may coordinate one of its
// groups, and would be fenced.
func (c *coordination) awaitLeader(ctx context.Context) error {
	for range leaderTime / leaderPoll {
		img := c.log.Image()
		_, state, ok := ShardOf(img, OffsetsTopic, c.group)
		if !ok || state.Leader != metalog.NoBroker || len(placement.Live(img)) == 0 {
			return nil
		}
		if err := pause.For(ctx, leaderPoll); err != nil {
			return err
		}
		if err := c.log.Refresh(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take takes the shard from whoever leads it, unless the request was carried out before (errKeyTaken).
func (c *coordination) take(ctx context.Context, req GroupRequest) error {
	taking := &Change{
		Action: ActionCoordinateGroup, Resource: metalog.Resource{Type: metalog.ResourceGroup, Name: c.group}, Size: 256,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			c.taken = false
			if _, known := img.Idempotent(req.Key); known {
				return nil, errKeyTaken
			}
			shard, state, ok := ShardOf(img, OffsetsTopic, c.group)
			if !ok {
				return nil, fmt.Errorf("no group has offsets yet: %w", kerr.CoordinatorNotAvailable)
			}
			c.shard, c.former, c.epoch, c.taken = shard, state, state.Epoch+1, true
			change := metalog.LeaderChange{Partition: shard, Leader: metalog.NoBroker, Epoch: c.epoch}
			return []metalog.Record{metalog.LeadersChanged{Changes: []metalog.LeaderChange{change}}}, nil
		},
	}
	Apply(ctx, c.log, req.Who, taking)
	return taking.Err
}

// load reads the group as its coordinator does, and refuses it if it has members.
func (c *coordination) load(ctx context.Context, req GroupRequest) error {
	entries, stored, err := c.table.LoadAll(ctx, c.stored, c.epoch)
	if err != nil {
		return err
	}
	c.entries, c.known = entries, len(entries) > 0 || stored != nil
	state, err := emptyState(stored)
	if !errors.Is(err, group.ErrNotEmpty) || !req.Expel {
		return err
	}
	empty := group.Snapshot{Generation: state.Generation + 1, ProtocolType: state.ProtocolType, Since: req.Who.At}
	return c.table.StoreState(ctx, c.stored, c.epoch, empty.AppendTo(nil))
}

// pending returns what transactions have pending of the group.
func (c *coordination) pending(ctx context.Context) ([]offsets.Entry, error) {
	all, err := c.table.ReadPending(ctx, c.shard.Index)
	var entries []offsets.Entry
	for _, p := range all {
		if p.Group == c.stored {
			entries = append(entries, p.Entries...)
		}
	}
	return entries, err
}

func (c *coordination) nothingPending(ctx context.Context) error {
	entries, err := c.pending(ctx)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("transactions have %d offsets pending: %w", len(entries), kerr.UnstableOffsetCommit)
	}
	return err
}

// commitTime is a time for commits, now unless an earlier commit of the group has a later one: what
// transactions have pending counts only if nothing was committed later.
func (c *coordination) commitTime(ctx context.Context, now time.Time) (time.Time, error) {
	pending, err := c.pending(ctx)
	now = now.Truncate(time.Millisecond)
	for _, entries := range [][]offsets.Entry{c.entries, pending} {
		for _, e := range entries {
			if !now.After(e.CommitTime) {
				now = e.CommitTime.Add(time.Millisecond)
			}
		}
	}
	return now, err
}

// back returns the records that give the shard to a broker, nil if it has one, or if none lives: then
// the first that comes takes it.
func (c *coordination) back(img *metalog.Image) []metalog.Record {
	if !c.holds(img) {
		return nil
	}
	change := metalog.LeaderChange{Partition: c.shard, Leader: c.former.Target, Epoch: c.epoch + 1}
	if !placement.IsLive(img, change.Leader) {
		change.Leader = c.former.Leader
	}
	if !placement.IsLive(img, change.Leader) {
		all := placement.Leaderless(img)
		i := slices.IndexFunc(all, func(ch metalog.LeaderChange) bool { return ch.Partition == c.shard })
		if i < 0 {
			return nil
		}
		change = all[i]
	}
	return []metalog.Record{metalog.LeadersChanged{Changes: []metalog.LeaderChange{change}}}
}

// giveBack gives the shard to a broker, if it may still have none.
func (c *coordination) giveBack(ctx context.Context) error {
	if !c.taken {
		return nil
	}
	_, err := c.log.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) { return c.back(img), nil })
	return err
}

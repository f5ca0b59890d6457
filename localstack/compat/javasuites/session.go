package javasuites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// session is one run of a suite. It is used by one goroutine.
type session struct {
	*suite.Target
	java  *rig.Java // the jars of the suite's version
	admin *kadm.Client
	cases []suite.Case
}

// run makes a Run of a function that tries the cases of a suite.
func run(cases func(ctx context.Context, s *session)) func(context.Context, *suite.Target) ([]suite.Case, error) {
	return func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
		java, err := rig.FindJava(jars(t.Tools))
		if err != nil {
			return nil, err
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(t.Brokers...))
		if err != nil {
			return nil, fmt.Errorf("make a client: %w", err)
		}
		defer client.Close()
		t.Log = &shared{w: t.Log}
		s := &session{Target: t, java: java, admin: kadm.NewClient(client)}
		cases(ctx, s)
		return s.cases, nil
	}
}

// try runs one case.
func (s *session) try(ctx context.Context, name string, f func(ctx context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	began := time.Now()
	c := suite.Case{Name: name, Outcome: suite.Passed}
	if err := f(ctx); err != nil {
		c.Outcome, c.Reason = suite.Failed, err.Error()
	}
	c.Took = time.Since(began)
	fmt.Fprintf(s.Log, "%s: %s in %s %s\n", c.Name, c.Outcome, c.Took.Round(time.Millisecond), c.Reason)
	s.cases = append(s.cases, c)
	return c.Outcome == suite.Passed
}

// skip says that cases were not tried because of one that failed.
func (s *session) skip(because string, names ...string) {
	for _, name := range names {
		s.cases = append(s.cases, suite.Case{Name: name, Outcome: suite.Skipped, Reason: because})
	}
}

// bootstrap is the addresses of the brokers as Java wants them.
func (s *session) bootstrap() string { return strings.Join(s.Brokers, ",") }

// topic makes a topic that keeps its records, of whatever time they are.
func (s *session) topic(ctx context.Context, name string, partitions int32) error {
	forever := "-1"
	if _, err := s.admin.CreateTopic(ctx, partitions, -1, map[string]*string{"retention.ms": &forever}, name); err != nil {
		return fmt.Errorf("make topic %s: %w", name, err)
	}
	return nil
}

// file writes a file into the scratch directory and returns its path.
func (s *session) file(name, content string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return "", fmt.Errorf("write what a tool reads: %w", err)
	}
	return path, nil
}

// properties is a file of Java properties with lines name=value.
func (s *session) properties(name string, lines ...string) (string, error) {
	return s.file(name, strings.Join(lines, "\n")+"\n")
}

// start starts a Java program. What it writes to standard output is handed to each line by
// line; that and what it writes to standard error is kept in the suite's log.
func (s *session) start(name string, each func(line string), cmd *exec.Cmd) (*rig.Process, error) {
	cmd.Stdout = &lines{name: name, log: s.Log, each: each}
	cmd.Stderr = &lines{name: name, log: s.Log}
	return rig.StartProcess(name, cmd)
}

// whileKilling runs f while brokers are killed and started again, one at a time, in turn.
// All brokers run when it returns. It fails if f does, or ended before as many were killed
// as make a test. The context that f gets ends with it, and what was started in it.
func (s *session) whileKilling(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	killing, stop := context.WithCancel(ctx)
	type end struct {
		kills int
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		kills, err := s.kill(killing)
		if err != nil {
			cancel()
		}
		ended <- end{kills, err}
	}()
	err := f(ctx)
	stop()
	e := <-ended
	if err == nil && e.kills < leastKills {
		err = fmt.Errorf("it was over after %d kills of brokers; %d are a test", e.kills, leastKills)
	}
	if err = errors.Join(err, e.err); err != nil {
		return fmt.Errorf("with brokers killed %d times: %w", e.kills, err)
	}
	return nil
}

// How brokers are killed.
const (
	killEvery  = 3 * time.Second // after the last one is there again
	killedFor  = time.Second
	leastKills = 2
	mostKills  = 6 // so that a slow machine gets done
)

// kill kills a broker every now and then until ctx ends or it was often enough.
func (s *session) kill(ctx context.Context) (kills int, err error) {
	brokers := s.Cluster.Brokers()
	for ; kills < mostKills && sleep(ctx, killEvery) == nil; kills++ {
		b := brokers[kills%len(brokers)]
		fmt.Fprintf(s.Log, "killing %s\n", b.Name)
		if err := b.Kill(); err != nil {
			return kills, err
		}
		_ = sleep(ctx, killedFor)
		if err := b.Start(context.WithoutCancel(ctx)); err != nil { // it outlives the case
			return kills, err
		}
	}
	return kills, nil
}

// sleep waits for a time or the end of the context, which is its error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errHopeless says that what is awaited will not come about.
var errHopeless = errors.New("more time would not help")

// await tries f until it returns nil or something hopeless. At the end of ctx it says what
// the last try said.
func await(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil || errors.Is(err, errHopeless) {
			return err
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("%w at the end of the time for it", err)
		}
	}
}

// read returns all records of a topic, by partition and offset. Of what belongs to
// transactions it returns only what is committed.
func (s *session) read(ctx context.Context, brokers []string, topic string) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", topic, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	ends, endsErr := admin.ListCommittedOffsets(ctx, topic)
	if err := errors.Join(err, endsErr, starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("read %s: %w", topic, err)
	}
	left := map[int32]int64{} // ends of partitions that are not read to the end
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > starts[topic][o.Partition].Offset {
			left[o.Partition] = o.Offset
		}
	})
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return nil, fmt.Errorf("read %s: %w, with partitions not read to their ends: %v", topic, err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end := ends[topic][r.Partition].Offset
			if r.Offset < end && !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return records, nil
}

// requireConfig checks one config of a topic.
func requireConfig(ctx context.Context, admin *kadm.Client, topic, name, want string) error {
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return fmt.Errorf("look at the configs of topic %s: %w", topic, err)
	}
	c, err := configs.On(topic, nil)
	if err = errors.Join(err, c.Err); err != nil {
		return fmt.Errorf("look at the configs of topic %s: %w", topic, err)
	}
	for _, config := range c.Configs {
		if config.Key == name && config.MaybeValue() == want {
			return nil
		} else if config.Key == name {
			return fmt.Errorf("topic %s has %s=%s and should have %s", topic, name, config.MaybeValue(), want)
		}
	}
	return fmt.Errorf("topic %s has no %s and should have %s", topic, name, want)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/localstack/oracle"
)

// The whole way, on a machine in this process whose power is cut.
func TestPowerLossFindsNothing(t *testing.T) {
	cfg, err := parse([]string{"-seed", "1", "-duration", "1s", "-transactors", "0", "-copiers", "0", "-dir", t.TempDir()}) // for a short test
	require.NoError(t, err)
	s, err := findScenario("power-loss")
	require.NoError(t, err)
	rep, err := run(t.Context(), cfg, s)
	require.NoError(t, err)
	require.True(t, rep.Passed, "%v", rep.Anomalies)
	require.Greater(t, rep.Operations.Acked, warmUp)
	require.Equal(t, 4*rep.Operations.Acked, rep.Operations.Read, "everything was read twice, and what is committed too")
	require.Positive(t, rep.Operations.Failed, "records that are too large")
	require.Positive(t, rep.Operations.Commits)
	require.Positive(t, rep.Faults["power cut"])
}

func TestOutcomes(t *testing.T) {
	for err, want := range map[error]oracle.Outcome{
		nil:                            oracle.OK,
		kerr.MessageTooLarge:           oracle.Fail,
		kgo.ErrMaxBuffered:             oracle.Fail,
		kerr.NotLeaderForPartition:     oracle.Info,
		kerr.RequestTimedOut:           oracle.Info,
		kgo.ErrRecordTimeout:           oracle.Info,
		context.DeadlineExceeded:       oracle.Info,
		fmt.Errorf("x: %w", io.EOF):    oracle.Info,
		kerr.OutOfOrderSequenceNumber:  oracle.Info,
		errors.New("anything unknown"): oracle.Info,
	} {
		require.Equal(t, want, outcomeOf(err), "%v", err)
	}
}

func TestChoose(t *testing.T) {
	names := func(args ...string) (list []string, err error) {
		cfg, err := parse(args)
		require.NoError(t, err)
		chosen, err := choose(cfg, io.Discard)
		for _, s := range chosen {
			list = append(list, s.name)
		}
		return list, err
	}
	dev, err := names()
	require.NoError(t, err)
	require.Equal(t, []string{"kill9", "pause", "power-loss", "lost-ack", "bit-rot", "rolling", "churn"}, dev)
	cluster, err := names("-target", "cluster")
	require.NoError(t, err)
	require.Len(t, cluster, len(scenarios))
	two, err := names("-scenario", "pause,kill9")
	require.NoError(t, err)
	require.Equal(t, []string{"pause", "kill9"}, two)
	_, err = names("-scenario", "wipe")
	require.ErrorContains(t, err, "-target cluster")
	_, err = names("-scenario", "nothing")
	require.Error(t, err)

	var total time.Duration
	for _, s := range scenarios {
		require.Positive(t, s.short, s.name)
		total += s.short
	}
	require.Less(t, total, 3*time.Minute, "the short mix with all that is around its faults must end within eight minutes")
}

func TestABugIsLookedForInSeveralRuns(t *testing.T) {
	dir := t.TempDir()
	self := filepath.Join(dir, "torture") // finds it with seed 7 and later only
	require.NoError(t, os.WriteFile(self, []byte(`#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in -json) json=$2 ;; -seed) seed=$2 ;; esac
	shift
done
[ "$seed" -ge 7 ] || exit 0
echo '[{"seed": '$seed', "anomalies": [{"Kind": "duplicate", "Partition": "t-0"}]}]' >"$json"
exit 1
`), 0o755))
	f := finders[seeded.Dedup]
	found, err := f.find(t.Context(), config{seed: 8 - seededRuns}, self, "", dir, seeded.Dedup)
	require.NoError(t, err)
	require.EqualValues(t, 7, found.Seed)
	_, err = f.find(t.Context(), config{seed: 7 - seededRuns}, self, "", dir, seeded.Dedup)
	require.ErrorContains(t, err, "exit code 0, want 1")
	_, err = finders[seeded.LastStable].find(t.Context(), config{seed: 7}, self, "", dir, seeded.LastStable)
	require.ErrorContains(t, err, "it found duplicate 1, and none of [beyond-stable]")
}

func TestAFaultThatNeverStruckIsTold(t *testing.T) {
	for _, s := range scenarios {
		require.NotEmpty(t, s.strikes, s.name)
	}
	e := &env{rec: newRecorder(), cfg: config{seed: 1}}
	rep := e.report(scenario{strikes: []string{"kill -9"}})
	require.False(t, rep.Passed)
	require.Equal(t, notAlive, rep.Anomalies[0].Kind)

	e = &env{rec: newRecorder()}
	e.rec.struck("kill -9", 1)
	e.rec.struck("table: outage", 1)
	require.True(t, e.report(scenario{strikes: []string{"kill -9", "outage"}}).Passed)
}

func TestACommitOfADeadMemberThatWasRefusedMustNotCount(t *testing.T) {
	rec, part := newRecorder(), oracle.Partition{Topic: "t"}
	resp := kmsg.NewPtrOffsetCommitResponse()
	p := kmsg.OffsetCommitResponseTopicPartition{ErrorCode: kerr.IllegalGeneration.Code}
	resp.Topics = []kmsg.OffsetCommitResponseTopic{{Topic: part.Topic, Partitions: []kmsg.OffsetCommitResponseTopicPartition{p}}}
	for _, stale := range []oracle.Outcome{oracle.Info, oracle.Fail} {
		noteCommit(rec, "g", "m", 0, kmsg.NewPtrOffsetCommitRequest(), resp, stale)
		require.Equal(t, stale, rec.history.Commits[len(rec.history.Commits)-1].Outcome)
	}
	require.Empty(t, rec.clients)
}

func TestMixes(t *testing.T) {
	s, err := findScenario("kill9")
	require.NoError(t, err)
	for _, test := range []struct {
		args     []string
		duration time.Duration
		rounds   int
	}{
		{nil, time.Minute, 0},
		{[]string{"-duration", "2s", "-rounds", "3"}, 2 * time.Second, 3},
		{[]string{"-short"}, s.short, 0},
		{[]string{"-long"}, time.Minute, s.rounds},
	} {
		cfg, err := parse(test.args)
		require.NoError(t, err)
		fit := s.fit(cfg)
		require.Equal(t, test.duration, fit.duration, "%v", test.args)
		require.Equal(t, test.rounds, fit.rounds, "%v", test.args)
	}
}

func TestRoundsAreCountedOrTimed(t *testing.T) {
	for _, test := range []struct {
		cfg  config
		want int
	}{
		{config{rounds: 3}, 3},
		{config{rounds: 2, duration: time.Hour}, 2},
		{config{}, 1},
	} {
		e, n := &env{cfg: test.cfg, rng: rand.New(rand.NewPCG(1, 1))}, 0
		require.NoError(t, e.rounds(t.Context(), 0, 0, func(round int) error {
			require.Equal(t, n, round)
			n++
			return nil
		}))
		require.Equal(t, test.want, n, "%+v", test.cfg)
	}
}

// tools/phases counts lines of these two sorts.
func TestReportLineBeginsAsThoseOfGoTest(t *testing.T) {
	r := report{Scenario: "kill9", Target: targetCluster, Passed: true, Seconds: 1.25}
	require.Regexp(t, `^ok  \ttorture/kill9\t1\.2s\tcluster `, r.line())
	r.Passed = false
	require.Regexp(t, `^FAIL\ttorture/kill9\t`, r.line())
}

func TestEverySeededBugHasAFinder(t *testing.T) {
	for _, bug := range seeded.Bugs() {
		if bug == seeded.CollectorGrace { // the schedules of tiering/collect find it
			continue
		}
		f, ok := finders[bug]
		require.True(t, ok, bug)
		s, err := findScenario(f.scenario)
		require.NoError(t, err)
		require.True(t, f.cluster || !s.cluster, bug)
		require.NotEmpty(t, f.shows, bug)
		for _, slow := range []oracle.Kind{oracle.NotDrained, oracle.Unseen, notResumed, notHealed} {
			require.NotContains(t, f.shows, slow, "%s: slowness shows no bug", bug)
		}
	}
}

func TestABugIsShownByItsOwnAnomaly(t *testing.T) {
	found := func(kinds ...oracle.Kind) (r report) {
		for _, kind := range kinds {
			r.Anomalies = append(r.Anomalies, oracle.Anomaly{Kind: kind})
		}
		return r
	}
	f := finders[seeded.Dedup]
	require.True(t, f.shown(found(oracle.NotDrained, oracle.Duplicate)))
	require.False(t, f.shown(found(oracle.NotDrained, notResumed)))
	require.False(t, f.shown(found()))
}

func TestBadCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-target", "moon"}, {"-nothing"}, {"-scenario", "wipe"}} {
		require.Equal(t, exitBroken, mainCode(t.Context(), args, io.Discard, io.Discard), "%v", args)
	}
	var out strings.Builder
	require.Equal(t, exitOK, mainCode(t.Context(), []string{"-list"}, &out, io.Discard))
	require.Contains(t, out.String(), "kill9")
}

func TestRecorderKnowsWhatGroupsHaveNotSeen(t *testing.T) {
	r, part := newRecorder(), oracle.Partition{Topic: "t"}
	value := func(n int64) oracle.Value { return oracle.Value{Producer: 1, Sequence: n} }
	got := func(values ...int64) oracle.Poll {
		p := oracle.Poll{Partition: part}
		for _, n := range values {
			p.Records = append(p.Records, oracle.Record{Offset: n, Value: value(n)})
		}
		return p
	}
	for n := range int64(3) {
		r.sent(r.send(value(n), part), n, nil)
	}
	r.sent(r.send(value(3), part), -1, kerr.MessageTooLarge)
	r.join("g", "m1") // learns what was acknowledged before
	r.join("g", "m2")
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Error(t, r.awaitSeen(short))
	r.polled("g", got(0, 1))
	n := r.send(value(4), part)
	r.polled("g", got(4)) // before its acknowledgement
	r.sent(n, 4, nil)
	done := make(chan error)
	go func() { done <- r.awaitSeen(t.Context()) }()
	r.polled("g", got(2))
	require.NoError(t, <-done)
	require.EqualValues(t, 4, r.acknowledged(part))
	require.EqualValues(t, -1, r.acknowledged(oracle.Partition{Topic: "u"}))
	require.Equal(t, operations{Sends: 5, Acked: 4, Failed: 1, Polled: 4}, count(&r.history))
}

// Copies that do not come in time do not mean that a copier is stuck.
func TestCopiersHaveTimeToStopWhenCopiesAreLate(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	l := &load{addrs: []string{refused.Addr().String()}, rec: newRecorder(), topics: []string{"torture-1"}}
	quits := make(chan struct{})
	c := &copier{l: l, name: "copier-1", quit: func() { close(quits) }, done: make(chan struct{}), cancel: func() { t.Error("it was cut short") }}
	go func() {
		<-quits
		close(c.done)
	}()
	l.copiers = []*copier{c}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	unanswered, unseen := l.settle(over, func(string) {})
	require.NoError(t, unanswered)
	require.ErrorIs(t, unseen, context.Canceled)
	require.ErrorContains(t, unseen, "await the copies")
}

func TestOnlyRecordsThatWereGivenCanBeLost(t *testing.T) {
	p := oracle.Partition{Topic: "t", Index: 1}
	c := &consumer{got: map[oracle.Partition]int64{p: 645}}
	loss := &kgo.ErrDataLoss{Topic: "t", Partition: 1, ConsumedTo: 647, ResetTo: 646}
	require.True(t, c.hasAllBefore(loss), "646 is a marker")
	loss.ResetTo = 645
	require.False(t, c.hasAllBefore(loss))
	require.False(t, c.hasAllBefore(io.EOF))
}

func TestKeyFollowsFromTheValue(t *testing.T) {
	value := oracle.Value{Producer: lifeFirst, Sequence: 7}
	rec := newRecorder()
	r, n := keyed(rec, 0, value, oracle.Partition{Topic: "t"})
	require.Equal(t, string(r.Key), rec.history.Sends[n].Key)
	require.Equal(t, value, keyedRecord(r).Value)
	r.Key = []byte("another")
	require.Contains(t, keyedRecord(r).Bad, "with the key another")

	for !isTombstone(value) {
		value.Sequence++
	}
	r, n = keyed(rec, 0, value, oracle.Partition{Topic: "t"})
	require.NotNil(t, r.Value, "the topic is not compacted")
	require.False(t, rec.history.Sends[n].Tombstone)
	r, n = keyed(rec, 0, value, oracle.Partition{Topic: lifeCompact})
	require.Nil(t, r.Value)
	require.True(t, rec.history.Sends[n].Tombstone)
	require.Equal(t, value, keyedRecord(r).Value)
}

func TestLifeGoesByItsRules(t *testing.T) {
	for _, topic := range lifeTopics {
		require.Contains(t, lifeRules, topic)
	}
	require.Equal(t, "6000", lifeConfigs("life-age", false)["retention.ms"])
	require.Equal(t, "60000", lifeConfigs("life-size", false)["retention.bytes"])
	for _, topic := range lifeTopics {
		require.Equal(t, "-1", lifeConfigs(topic, true)["retention.ms"])
		require.Equal(t, "-1", lifeConfigs(topic, true)["retention.bytes"])
	}
	require.Equal(t, "compact", lifeConfigs(lifeCompact, true)["cleanup.policy"])
	require.Equal(t, "compact,delete", lifeConfigs(lifeBoth, false)["cleanup.policy"])
	s, err := findScenario("life")
	require.NoError(t, err)
	require.Equal(t, append(append([]string{}, lifeArgs...), "--x"), s.fit(config{args: []string{"--x"}}).args)
}

func TestMergedIsFoundInMetrics(t *testing.T) {
	require.EqualValues(t, 12, mergedOf("# TYPE forebay_merged_segments_total counter\nforebay_merged_segments_total 12\nforebay_merged_bytes_total 5\n"))
	require.Zero(t, mergedOf("forebay_merged_bytes_total 5\n"))
}

func TestLineLosesRepliesAndIsCut(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() { // answers everything
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	var losing, lost atomic.Int64
	l := &line{losing: &losing, lost: &lost}
	ask := func() error {
		conn, err := l.dial(t.Context(), "tcp", server.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	require.NoError(t, ask())
	losing.Store(1000)
	require.ErrorIs(t, ask(), errLost)
	require.EqualValues(t, 1, lost.Load())
	l.cut()
	require.ErrorIs(t, ask(), errCut)
}

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

var (
	tools   *rig.Java // Apache Kafka's jars
	forebay string    // the built forebay
	shared  *site     // brokers with their defaults, for scenarios that neither stop nor fill them
)

// againstKafka reports whether the scenarios run against Apache Kafka.
func againstKafka() bool { return os.Getenv("FOREBAY_E2E_TARGET") == "kafka" }

// againstCluster reports whether the scenarios run against a cluster of three.
func againstCluster() bool { return os.Getenv("FOREBAY_E2E_TARGET") == "cluster" }

func TestMain(m *testing.M) {
	if os.Getenv(memberAddr) != "" {
		if err := consumeMain(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runAll(m))
}

// runAll makes what the scenarios share, runs them, and takes it away again.
func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "forebay-e2e-")
	if err != nil {
		return cannot(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if tools, err = rig.FindJava(os.Getenv("FOREBAY_JARS")); err != nil {
		return cannot(err)
	}
	if _, err := exec.LookPath("kcat"); err != nil {
		return cannot(fmt.Errorf("%w; run tools/install system", err))
	}
	ctx := context.Background()
	if !againstKafka() {
		if forebay, err = rig.BuildForebay(ctx, dir); err != nil {
			return cannot(err)
		}
	}
	if shared, err = startSite(ctx, filepath.Join(dir, "shared")); err != nil {
		return cannot(err)
	}
	code, began := m.Run(), time.Now()
	if err := shared.close(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s\n", err, shared.output())
		return 1
	}
	fmt.Printf("the shared brokers stopped in %s\n", time.Since(began).Round(time.Millisecond))
	return code
}

func cannot(err error) int {
	fmt.Fprintln(os.Stderr, "e2e cannot start:", err)
	return 1
}

// stopLimit is how long a broker may take to end after SIGTERM.
var stopLimit = func() time.Duration {
	if againstKafka() {
		return time.Minute
	}
	return 10 * time.Second
}()

// start runs a broker on dir, ready when it returns. env is for Forebay only.
func start(ctx context.Context, dir string, env ...string) (*rig.Node, error) {
	if againstKafka() {
		return rig.StartKafka(ctx, rig.KafkaConfig{Java: tools, Dir: dir, Set: map[string]string{
			"group.initial.rebalance.delay.ms": "0",
		}})
	}
	return rig.StartForebay(ctx, rig.ForebayConfig{Binary: forebay, Dir: dir, Env: env})
}

// ownBroker is a broker for one test, ended with it.
func ownBroker(t *testing.T, dir string, env ...string) *rig.Node {
	t.Helper()
	node, err := start(t.Context(), dir, env...)
	require.NoError(t, err)
	endWith(t, node)
	return node
}

// endWith kills the broker at the end of the test, and shows its output if the test failed.
func endWith(t *testing.T, node *rig.Node) {
	t.Cleanup(func() {
		if err := node.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("output of the broker on %s:\n%s", node.Addr, node.Output())
		}
	})
}

// restart starts a broker again on the directory and the address of one that has ended.
func restart(t *testing.T, ended *rig.Node, env ...string) *rig.Node {
	t.Helper()
	var node *rig.Node
	var err error
	if againstKafka() {
		node, err = rig.StartKafka(t.Context(), rig.KafkaConfig{Java: tools, Dir: ended.Dir, Addr: ended.Addr})
	} else {
		node, err = rig.StartForebay(t.Context(), rig.ForebayConfig{
			Binary: forebay, Dir: ended.Dir, Addr: ended.Addr, Admin: ended.Admin, Env: env,
		})
	}
	require.NoError(t, err)
	endWith(t, node)
	return node
}

// stepLimit is how long what clients do in one step of a scenario may take. It tells a client that hangs
// from one that waits for the processor, which a machine with other work may give to none of
// several Java programs for most of a minute.
const stepLimit = 4 * time.Minute

// timeout is a context for one step of a scenario. It ends before its time when the brokers are broken.
func timeout(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	step, end := context.WithCancelCause(t.Context())
	stop := context.AfterFunc(broken, func() { end(context.Cause(broken)) })
	ctx, cancel := context.WithTimeout(step, limit)
	t.Cleanup(func() { stop(); cancel(); end(nil) })
	return ctx
}

var topics atomic.Int64

// newTopic makes a topic with a name that no other has.
func newTopic(t *testing.T, addr string, partitions int) string {
	t.Helper()
	name := "events-" + strconv.FormatInt(topics.Add(1), 10)
	ctx := timeout(t, stepLimit)
	require.NoError(t, createTopic(ctx, addr, name, partitions))
	for one := range strings.SplitSeq(addr, ",") { // a broker may know it a while after the answer
		err := rig.Await(ctx, func(ctx context.Context) error {
			_, _, err := listEnds(ctx, one, name)
			var dial *net.OpError
			if againstCluster() && errors.As(err, &dial) { // it is being restarted, and will know when it is there
				return nil
			}
			return err
		})
		require.NoError(t, err)
	}
	return name
}

// settled is one try of f, and in a cluster, whose brokers come and go while the tests look at
// it from outside, as many as it takes.
func settled(ctx context.Context, f func(context.Context) error) error {
	if againstCluster() {
		return rig.Await(ctx, f)
	}
	return f(ctx)
}

// pick returns all of n choices, or in a short run the one that comes round with the others.
func pick[T any](turn int, choices ...T) []T {
	if !testing.Short() {
		return choices
	}
	return choices[turn%len(choices):][:1]
}

// produce produces the events with one client and checks that the topic has grown by as many.
func produce(t *testing.T, p producer, addr, topic, codec string, events []event) {
	t.Helper()
	ctx := timeout(t, stepLimit)
	_, before, err := endOffsets(ctx, addr, topic)
	require.NoError(t, err)
	require.NoError(t, p.produce(ctx, addr, topic, codec, events))
	_, after, err := endOffsets(ctx, addr, topic)
	require.NoError(t, err)
	require.EqualValues(t, len(events), after-before, "records added by %s", p.name())
}

// consumeAlone reads the whole topic with one client and checks that it is the events.
func consumeAlone(t *testing.T, c consumer, addr, topic string, events []event) {
	t.Helper()
	ctx := timeout(t, stepLimit)
	_, total, err := endOffsets(ctx, addr, topic)
	require.NoError(t, err)
	require.EqualValues(t, len(events), total, "records in the topic")
	h := newHistory()
	if _, ok := c.(java); ok && againstCluster() {
		// It is a group of its own, which begins anew when its coordinator goes: at least once.
		m := join(t, c, addr, "alone-with-"+topic, topic, h)
		require.NoError(t, h.await(ctx, len(events)))
		leave(ctx, t, []*member{m})
		h.requireWhole(t, events)
		return
	}
	p, read, err := stream(c.name(), c.alone(ctx, addr, topic, len(events)), h, func(int) {})
	require.NoError(t, err)
	require.NoError(t, p.Wait(ctx), p.Output())
	<-read
	h.requireOnce(t)
	h.requireWhole(t, events)
}

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// producer drives a real client. Produce returns when all events are acknowledged by all
// (acks=all); codec is none, gzip, snappy, lz4 or zstd.
type producer interface {
	name() string
	produce(ctx context.Context, addr, topic, codec string, events []event) error
}

// consumer drives a real client.
type consumer interface {
	name() string
	// alone is a command that prints the first n records of a topic and ends.
	alone(ctx context.Context, addr, topic string, n int) *exec.Cmd
	// member is a command that prints as a member of a group until it is stopped.
	member(ctx context.Context, addr, group, topic string) *exec.Cmd
}

// console is a producer that reads "key, tabulator, value" lines from its standard input.
type console interface {
	producer
	command(ctx context.Context, addr, topic, codec string) *exec.Cmd
	// dropped is what it says of a record that it gives up.
	dropped() string
}

var (
	codecs    = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	producers = []producer{kcat{}, franz{}, java{}}
	consumers = []consumer{kcat{}, franz{}, java{}}
)

// sessionTimeout is how long a group waits for a killed member: the least that brokers allow by default.
const sessionTimeout = 6 * time.Second

// runConsole feeds the events to a console producer and waits for its end. One that has dropped
// records may end well, but not in silence.
func runConsole(ctx context.Context, c console, addr, topic, codec string, events []event) error {
	cmd := c.command(ctx, addr, topic, codec)
	cmd.Stdin = keyed(events)
	said, err := cmd.CombinedOutput()
	if err == nil && bytes.Contains(said, []byte(c.dropped())) {
		err = errDropped
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Path, err, said)
	}
	return nil
}

var (
	errDropped = errors.New("it gave up records")
	errSkipped = errors.New("it could not ask about a partition")
)

// output returns what a command prints; its error holds what it said beside that.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", cmd.Path, err, out, stderr.String())
	}
	return string(out), nil
}

// kcat is the command line client on librdkafka. It cannot set record timestamps.
type kcat struct{}

func (kcat) name() string { return "kcat" }

// It also says ERROR of each connection that it loses, and makes it anew.
func (kcat) dropped() string { return "Delivery failed" }

func (kcat) command(ctx context.Context, addr, topic, codec string) *exec.Cmd {
	// -E, also below: it would else end itself when it has lost its connections.
	return exec.CommandContext(ctx, "kcat", "-P", "-E", "-b", addr, "-t", topic, "-z", codec, "-K", "\t",
		"-X", "enable.idempotence=true")
}

func (k kcat) produce(ctx context.Context, addr, topic, codec string, events []event) error {
	return runConsole(ctx, k, addr, topic, codec, events)
}

// kcatFormat prints partition, offset, key and value.
const kcatFormat = "%p\t%o\t%k\t%s\n"

func (kcat) alone(ctx context.Context, addr, topic string, n int) *exec.Cmd {
	return exec.CommandContext(ctx, "kcat", "-C", "-E", "-b", addr, "-t", topic, "-o", "beginning",
		"-c", strconv.Itoa(n), "-e", "-q", "-f", kcatFormat)
}

func (kcat) member(ctx context.Context, addr, group, topic string) *exec.Cmd {
	return exec.CommandContext(ctx, "kcat", "-E", "-b", addr, "-G", group, "-u", "-q", "-f", kcatFormat,
		"-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms="+millis(sessionTimeout),
		"-X", "heartbeat.interval.ms=500", topic)
}

// offsetsForTime asks kcat for the first offset at or after a time, for each partition; -1 is none.
func (kcat) offsetsForTime(ctx context.Context, addr, topic string, partitions int, ms int64) (map[int32]int64, error) {
	args := []string{"-Q", "-b", addr}
	for p := range partitions {
		args = append(args, "-t", fmt.Sprintf("%s:%d:%d", topic, p, ms))
	}
	out, err := output(exec.CommandContext(ctx, "kcat", args...))
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for line := range strings.Lines(out) {
		var p int32
		var offset int64
		_, err := fmt.Sscanf(line, topic+" [%d] offset %d", &p, &offset)
		if err == nil && strings.Contains(line, ": ") { // and what went wrong
			err = errSkipped
		}
		if err != nil {
			return nil, fmt.Errorf("kcat printed %q: %w", line, err)
		}
		offsets[p] = offset
	}
	return offsets, nil
}

// java is Apache Kafka's console tools. They cannot set record timestamps.
type java struct{}

func (java) name() string { return "java" }

func (java) dropped() string { return "Error when sending message" }

func (java) command(ctx context.Context, addr, topic, codec string) *exec.Cmd {
	// By itself it gives up after three tries or two minutes, says so, drops the records and ends well.
	return tools.Tool(ctx, rig.ConsoleProducer, "--bootstrap-server", addr, "--topic", topic,
		"--compression-codec", codec, "--message-send-max-retries", "1000000", "--command-property", "delivery.timeout.ms="+millis(time.Hour), "--reader-property", "parse.key=true", "--reader-property", "key.separator=\t")
}

func (j java) produce(ctx context.Context, addr, topic, codec string, events []event) error {
	return runConsole(ctx, j, addr, topic, codec, events)
}

func (java) consumer(ctx context.Context, addr, topic string, args ...string) *exec.Cmd {
	return tools.Tool(ctx, rig.ConsoleConsumer, append([]string{
		"--bootstrap-server", addr, "--topic", topic, "--from-beginning",
		"--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true",
		"--formatter-property", "print.key=true", "--formatter-property", "key.separator=\t",
	}, args...)...)
}

func (j java) alone(ctx context.Context, addr, topic string, n int) *exec.Cmd {
	return j.consumer(ctx, addr, topic, "--max-messages", strconv.Itoa(n))
}

func (j java) member(ctx context.Context, addr, group, topic string) *exec.Cmd {
	return j.consumer(ctx, addr, topic, "--group", group,
		"--command-property", "session.timeout.ms="+millis(sessionTimeout),
		"--command-property", "heartbeat.interval.ms=500")
}

// offsetsForTime is kcat's, by Apache Kafka's own tool, which leaves out partitions that have none, and, with a
// word about each, those that it cannot ask.
func (java) offsetsForTime(ctx context.Context, addr, topic string, partitions int, ms int64) (map[int32]int64, error) {
	said, err := tools.Tool(ctx, rig.GetOffsets, "--bootstrap-server", addr, "--topic", topic,
		"--time", strconv.FormatInt(ms, 10)).CombinedOutput()
	out := string(said)
	if err == nil && strings.Contains(out, "Skip getting offsets") {
		err = errSkipped
	}
	if err != nil {
		return nil, fmt.Errorf("ask the offset tool: %w\n%s", err, out)
	}
	offsets := map[int32]int64{}
	for p := range partitions {
		offsets[int32(p)] = -1
	}
	for line := range strings.Lines(out) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), topic+":")
		if !ok {
			continue
		}
		p, offset, _ := strings.Cut(rest, ":")
		partition, err := strconv.ParseInt(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the offset tool printed %q: %w", line, err)
		}
		if offset == "" {
			continue
		}
		if offsets[int32(partition)], err = strconv.ParseInt(offset, 10, 64); err != nil {
			return nil, fmt.Errorf("the offset tool printed %q: %w", line, err)
		}
	}
	return offsets, nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// stream starts a consumer and reads what it prints into a history. The process has
// ended, and all of its output is read, when read is closed.
func stream(name string, cmd *exec.Cmd, to sink, lines func(n int)) (p *rig.Process, read <-chan struct{}, err error) {
	in, out := io.Pipe()
	cmd.Stdout = out
	p, err = rig.StartProcess(name, cmd)
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		readLines(in, to, lines)
	}()
	go func() {
		<-p.Done()
		_ = out.Close()
	}()
	return p, ended, nil
}

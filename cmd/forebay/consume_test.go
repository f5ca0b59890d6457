package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStart(t *testing.T) {
	none := int64(math.MaxInt64)
	tests := []struct {
		offsets []string
		want    startAt
	}{
		{nil, startAt{startEnd, 0, none, false}},
		{[]string{"beginning"}, startAt{startBeginning, 0, none, true}},
		{[]string{"end"}, startAt{startEnd, 0, none, true}},
		{[]string{"17"}, startAt{startOffset, 17, none, true}},
		{[]string{"-5"}, startAt{startEnd, 5, none, true}},
		{[]string{"s@1000"}, startAt{startTime, 1000, none, true}},
		{[]string{"e@2000"}, startAt{startEnd, 0, 2000, false}},
		{[]string{"s@1000", "e@2000"}, startAt{startTime, 1000, 2000, true}},
		{[]string{"e@2000", "0"}, startAt{startOffset, 0, 2000, true}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.offsets, " "), func(t *testing.T) {
			got, err := (&consumeFlags{offsets: tt.offsets}).parseStart()
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
	for _, bad := range [][]string{{"x"}, {"s@"}, {"s@-1"}, {"e@x"}, {"e@1", "e@2"}, {"1", "2"}, {"-9223372036854775808"}, {""}} {
		_, err := (&consumeFlags{offsets: bad}).parseStart()
		require.Error(t, err, "%q", bad)
	}
	_, err := (&consumeFlags{offsets: []string{"5"}, group: "g"}).parseStart()
	require.ErrorContains(t, err, "group reset")
	_, err = (&consumeFlags{partitions: []int32{1}, group: "g"}).parseStart()
	require.ErrorContains(t, err, "not both")
}

// consumed prints a topic to its end, with further flags.
func consumed(t *testing.T, topic string, args ...string) string {
	t.Helper()
	return succeed(t, "", append([]string{"consume", topic, "-e"}, args...)...)
}

func TestProduceAndConsume(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		succeed(t, codec+"\n", "produce", "events", "-z", codec)
	}
	succeed(t, "k\tv\nno key\n\n", "produce", "events", "-K", `\t`, "-H", "h=1", "-H", "null", "-T", "2026-01-31T12:00:00Z")
	succeed(t, "x\n", "produce", "events", "--acks", "1", "-k", "fixed", "-T", "5")
	succeed(t, "\n", "produce", "events", "--acks", "0", "--null", "-T", "6")
	require.Eventually(t, func() bool { // nobody is told when it is there
		return strings.HasSuffix(consumed(t, "events", "--from-beginning", "-f", `%T\n`), "\n6\n")
	}, 10*time.Second, 10*time.Millisecond)
	succeed(t, "7 a=b 1 k3 \n\n-\n", "produce", "events", "-F", `%T %h %K %k%S %s\n`)

	require.Equal(t, "none\ngzip\nsnappy\nlz4\nzstd\n", consumed(t, "events", "--from-beginning", "-c", "5"))
	require.Equal(t,
		"0 5 k=v h=1,null=NULL 1769860800000\n0 6 =no key h=1,null=NULL 1769860800000\n0 7 = h=1,null=NULL 1769860800000\n"+
			"0 8 fixed=x  5\n0 9 =  6\n0 10 k=\n\n- a=b 7\n",
		consumed(t, "events", "-o", "5", "-f", `%p %o %k=%s %h %T\n`))
	require.Equal(t, "k:v\nNULL:no key\n", consumed(t, "events", "-o", "5", "-c", "2", "-K", ":", "-Z"))
	require.Equal(t, `{"topic":"events","partition":0,"offset":5,"tstype":"create","ts":1769860800000,"headers":["h","1","null",null],"key":"k","payload":"v"}`+"\n",
		consumed(t, "events", "-o", "5", "-c", "1", "-J"))
	require.Equal(t, "-1 -1\n1 3\n", consumed(t, "events", "-o", "-2", "-f", `%K %S\n`))
}

func TestConsumePlaces(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "2")
	succeed(t, "1000 a\n2000 b\n3000 c\n", "produce", "events", "-p", "0", "-F", `%T %s\n`)
	succeed(t, "1500 d\n2500 e\n", "produce", "events", "-p", "1", "-F", `%T %s\n`)
	tests := []struct {
		name, args, want string
	}{
		{"end", "-o end", ""},
		{"no start is the end", "", ""},
		{"last of each", "-o -1", "c e"},
		{"more than there are", "-o -9", "a b c d e"},
		{"offset", "-p 0 -o 1", "b c"},
		{"behind the last", "-p 0 -o 3", ""},
		{"from a time", "-o s@2000", "b c e"},
		{"until a time", "--from-beginning -o e@2500", "a b d"},
		{"from and until", "-o s@1500 -o e@3000", "b d e"},
		{"from the future", "-o s@4000", ""},
		{"some", "-p 0 -o beginning -c 2", "a b"},
		{"one partition", "-p 1 --from-beginning", "d e"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Fields(consumed(t, "events", strings.Fields(tt.args)...))
			require.ElementsMatch(t, strings.Fields(tt.want), got)
		})
	}
	until := succeed(t, "", "consume", "events", "-o", "s@1500", "-o", "e@2500")
	require.ElementsMatch(t, []string{"b", "d"}, strings.Fields(until), "a time to stop at needs no -e where a later record is there")
}

func TestConsumeMistakes(t *testing.T) {
	startBroker(t)
	succeed(t, "x\n", "produce", "events")
	tests := []struct {
		args, says string
		code       int
	}{
		{"consume", "requires at least 1 arg", exitUsage},
		{"consume nope", "topic nope does not exist", exitFailed},
		{"consume events -p 7", "no partition 7", exitFailed},
		{"consume events -o 5", "has 0 to 1", exitFailed},
		{"consume events -o sometime", "want beginning, end", exitUsage},
		{"consume events -f %x", "no verb %x", exitUsage},
		{"consume events -f %s -J", "give one of", exitUsage},
		{"consume events --isolation serializable", "read_committed", exitUsage},
		{"consume events -c -1", "--max -1", exitUsage},
		{"consume events -g g -o 4", "group reset", exitUsage},
		{"produce", "name the topic", exitUsage},
		{"produce events -z brotli", "use none, gzip", exitUsage},
		{"produce events --acks 2", "use all, 1 or 0", exitUsage},
		{"produce events --acks 1 --idempotent", "needs --acks all", exitUsage},
		{"produce events -F %k%s", "nothing tells", exitUsage},
		{"produce events -F %s -K :", "not both", exitUsage},
		{"produce events -T yesterday", "want ms since 1970", exitUsage},
		{"produce events -p -4", "--partition -4", exitUsage},
		{"produce events -f /nonexistent/file", "no such file", exitFailed},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := forebay(t, "", strings.Fields(tt.args)...)
			require.Equal(t, tt.code, r.code, r.err)
			require.Contains(t, r.err, tt.says)
			require.Empty(t, r.out)
		})
	}
}

// Bytes of any kind go from one topic to another by a format with lengths.
func TestConsumeIntoProduce(t *testing.T) {
	startBroker(t)
	var in strings.Builder
	for i := range 500 {
		key := strings.Repeat("k\n\x00\xff", i%7)
		fmt.Fprintf(&in, "%d %s%d %s%d\n", len(key), key, i%50, strings.Repeat("\n", i%50), 1_000_000+i)
	}
	layout := `%K %k%S %s%T\n`
	file := filepath.Join(t.TempDir(), "records")
	require.NoError(t, os.WriteFile(file, []byte(in.String()), 0o644))
	succeed(t, "", "produce", "a", "-F", layout, "-f", file, "-z", "lz4")
	text := consumed(t, "a", "--from-beginning", "-f", layout)
	require.Equal(t, in.String(), text)
	succeed(t, text, "produce", "b", "-F", layout)
	require.Equal(t, text, consumed(t, "b", "--from-beginning", "-f", layout))
}

func TestProduceNamesWhatFailed(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events", "--config", "max.message.bytes=1000")
	r := forebay(t, "ok\n"+strings.Repeat("x", 5000)+"\n", "produce", "events")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "MESSAGE_TOO_LARGE")
	require.Contains(t, r.err, "of standard input")

	r = forebay(t, "1 a\n2 b\nthree c\n", "produce", "events", "-F", `%T %s\n`)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "read record 3 of standard input")
	require.Contains(t, consumed(t, "events", "--from-beginning"), "a\nb\n", "what came before is delivered")

	r = forebay(t, "a\n", "produce", "events", "-p", "9", "--delivery-timeout", "2s")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "1 of 1 records failed")
}

func TestConsumeAsGroup(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "3")
	var in strings.Builder
	for i := range 300 {
		fmt.Fprintf(&in, "k%d\t%d\n", i, i)
	}
	succeed(t, in.String(), "produce", "events", "-K", `\t`)

	first := succeed(t, "", "consume", "events", "-g", "g", "--from-beginning", "-c", "100")
	second := succeed(t, "", "consume", "events", "-g", "g", "--from-beginning", "-e")
	require.Len(t, strings.Fields(first), 100)
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprint(i))
	}
	require.ElementsMatch(t, want, append(strings.Fields(first), strings.Fields(second)...), "each record once")
	require.Empty(t, succeed(t, "", "consume", "events", "-g", "g", "-e"), "all is committed")
	require.Empty(t, succeed(t, "", "consume", "events", "-g", "new", "-e"), "a new group starts at the end")
}

// An interrupt commits exactly what was printed.
func TestInterruptCommits(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events")
	c := start(t, "consume", "events", "-g", "g", "--from-beginning")
	succeed(t, "a\nb\n", "produce", "events")
	c.out.await(t, `^a\nb\n$`)
	require.Equal(t, exitOK, c.stop(t), c.err)
	succeed(t, "c\n", "produce", "events")
	require.Equal(t, "c\n", succeed(t, "", "consume", "events", "-g", "g", "-e"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, exitInterrupted, forebayContext(ctx, t, "", "consume", "events", "-c", "5").code, "an end was asked for")
}

//go:build e2e

package functions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/localstack/rig"
)

var (
	ada     = rig.Identity{AccessKey: "AKIDADA", Secret: "secret-of-ada", ARN: "arn:aws:sts::000000000000:assumed-role/ops/ada", Allowed: true}
	eve     = rig.Identity{AccessKey: "AKIDEVE", Secret: "secret-of-eve", ARN: "arn:aws:iam::000000000000:user/eve", Allowed: true}
	mallory = rig.Identity{AccessKey: "AKIDMAL", Secret: "secret-of-mallory", ARN: "arn:aws:iam::000000000000:user/mallory"}
)

// admins is a function api behind its URL, and Kafka's own tools.
type admins struct {
	*world
	url   *rig.FunctionURL
	tools *rig.Java
}

func newAdmins(t *testing.T) *admins {
	a := &admins{world: newWorld(t, 3)}
	f := a.function("api", "FOREBAY_ADMIN_WRITERS=arn:aws:sts::*:assumed-role/ops/*", "FOREBAY_ADMIN_READERS="+eve.ARN)
	var err error
	a.url, err = rig.ServeURL(t.Context(), f, step, false, ada, eve, mallory)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.url.Close()) })
	a.tools, err = rig.FindJava(os.Getenv("FOREBAY_JARS"))
	require.NoError(t, err)
	return a
}

// send sends a request with a client, and returns what came of it.
func (a *admins) send(client *http.Client, method, path, body string) (int, []byte) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.url.URL+path, strings.NewReader(body))
	require.NoError(a.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, b
}

// call sends a request as ada, that succeeds, and decodes its answer.
func call[T any](a *admins, method, path, body string) (out T) {
	a.t.Helper()
	status, b := a.send(ada.Client(nil), method, path, body)
	require.Equal(a.t, http.StatusOK, status, "%s %s: %s", method, path, b)
	require.NoError(a.t, json.Unmarshal(b, &out))
	return out
}

// refused sends a request as ada, that is refused with Kafka's error.
func (a *admins) refused(kafka, method, path, body string) {
	a.t.Helper()
	status, b := a.send(ada.Client(nil), method, path, body)
	require.GreaterOrEqual(a.t, status, 400, "%s %s: %s", method, path, b)
	require.Contains(a.t, string(b), kafka)
}

// tool runs one of Kafka's tools, and returns what it says.
func (a *admins) tool(main string, args ...string) string {
	a.t.Helper()
	out, err := a.tools.Tool(a.within(), main, append(args, "--bootstrap-server", strings.Join(a.cluster.Addrs(), ","))...).CombinedOutput()
	require.NoError(a.t, err, "%s", out)
	return string(out)
}

// consume reads a topic as a member of a group up to a number of records and commits; the client is a member still.
func (a *admins) consume(group, topic string, count int) *kgo.Client {
	a.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(a.cluster.Addrs()...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(a.t, err)
	ctx := a.within()
	for read := 0; read < count; {
		fetches := cl.PollFetches(ctx)
		require.NoError(a.t, fetches.Err())
		read += fetches.NumRecords()
	}
	require.NoError(a.t, cl.CommitUncommittedOffsets(ctx))
	return cl
}

// TestAdminAPI: what the function changes Kafka's own tools see, and the other way round; who may not is refused; and with all
// brokers down it goes on.
func TestAdminAPI(t *testing.T) {
	a := newAdmins(t)
	a.callers()
	a.topics()
	a.configs()
	a.groups()
	a.moves()
	a.history()
	a.down()
}

func (a *admins) callers() {
	t := a.t
	for name, client := range map[string]*http.Client{
		"unsigned":          http.DefaultClient,
		"not allowed":       mallory.Client(nil),
		"wrong secret":      rig.Identity{AccessKey: ada.AccessKey, Secret: "guessed"}.Client(nil),
		"unknown":           rig.Identity{AccessKey: "AKIDNOBODY", Secret: "x"}.Client(nil),
		"an old signature":  ada.Client(func() time.Time { return time.Now().Add(-10 * time.Minute) }),
		"one of the future": ada.Client(func() time.Time { return time.Now().Add(10 * time.Minute) }),
	} {
		status, b := a.send(client, "GET", "/v1/cluster", "")
		require.Equal(t, http.StatusForbidden, status, "%s: %s", name, b)
	}
	status, _ := a.send(eve.Client(nil), "GET", "/v1/cluster", "")
	require.Equal(t, http.StatusOK, status)
	status, b := a.send(eve.Client(nil), "POST", "/v1/topics", `{"name": "hers"}`)
	require.Equal(t, http.StatusForbidden, status, "%s", b)
	require.Contains(t, string(b), "may read")

	c := call[admin.Cluster](a, "GET", "/v1/cluster", "")
	require.Equal(t, []int{3, 3}, []int{c.Brokers, c.Alive})
	brokers := call[admin.Brokers](a, "GET", "/v1/brokers?observe=true", "").Brokers
	for _, b := range brokers {
		require.True(t, b.Alive, "%+v", b)
		require.True(t, *b.Session.Renewed)
		require.NotEmpty(t, b.Endpoints)
		require.Equal(t, fmt.Sprintf("rack-%d", b.ID), b.Rack)
	}
	require.Len(t, call[admin.Sessions](a, "GET", "/v1/sessions", "").Sessions, 3)
}

func (a *admins) topics() {
	t := a.t
	dry := call[admin.TopicChanged](a, "POST", "/v1/topics?dry_run=true", `{"name": "orders", "partitions": 3, "replication_factor": 2}`)
	require.True(t, dry.DryRun)
	a.lists("orders", false)
	call[admin.TopicChanged](a, "POST", "/v1/topics", `{"name": "orders", "partitions": 3, "replication_factor": 2, "configs": {"retention.ms": "86400000"}}`)
	a.refused("TOPIC_ALREADY_EXISTS", "POST", "/v1/topics", `{"name": "orders"}`)
	call[admin.TopicChanged](a, "POST", "/v1/topics/orders/partitions", `{"count": 6}`)
	described := a.tool(rig.TopicCommand, "--describe", "--topic", "orders")
	require.Contains(t, described, "PartitionCount: 6")
	require.Contains(t, described, "ReplicationFactor: 2")
	require.Contains(t, described, "retention.ms=86400000")

	a.tool(rig.TopicCommand, "--create", "--topic", "kafkas", "--partitions", "2", "--replication-factor", "1")
	require.Equal(t, 2, call[admin.Topic](a, "GET", "/v1/topics/kafkas", "").Partitions)
	call[admin.Changed](a, "DELETE", "/v1/topics/kafkas", "")
	a.lists("kafkas", false)
}

// lists awaits that the brokers have a topic, or have it no more.
func (a *admins) lists(topic string, want bool) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		found, err := a.world.admin.ListTopics(a.t.Context())
		return err == nil && found.Has(topic) == want
	}, step, 20*time.Millisecond)
}

func (a *admins) configs() {
	t := a.t
	call[admin.ConfigsChanged](a, "PATCH", "/v1/configs/topics/orders", `{"set": {"max.message.bytes": "2000000"}, "delete": ["retention.ms"]}`)
	described := a.tool(rig.ConfigCommand, "--describe", "--entity-type", "topics", "--entity-name", "orders")
	require.Contains(t, described, "max.message.bytes=2000000")
	require.NotContains(t, described, "retention.ms=86400000")
	a.tool(rig.ConfigCommand, "--alter", "--entity-type", "topics", "--entity-name", "orders", "--add-config", "segment.bytes=1048576")
	found := map[string]string{}
	for _, c := range call[admin.Configs](a, "GET", "/v1/configs/topics/orders?set=true", "").Configs {
		found[c.Name] = *c.Value
	}
	require.Equal(t, map[string]string{"max.message.bytes": "2000000", "segment.bytes": "1048576"}, found)
}

func (a *admins) groups() {
	t := a.t
	const count = 20
	began := time.Now()
	a.produce("orders", 6, count, began.Add(-time.Minute)) // sealed
	var records []*kgo.Record
	for p := range int32(6) {
		records = append(records, &kgo.Record{Topic: "orders", Partition: p, Value: []byte("newest"), Timestamp: began})
	}
	require.NoError(t, a.client.ProduceSync(t.Context(), records...).FirstErr())
	for _, p := range call[admin.Partitions](a, "GET", "/v1/topics/orders/partitions", "").Partitions {
		require.Equal(t, []int64{0, count, count + 1}, []int64{int64(p.Start), int64(p.Sealed), int64(p.End)}, "partition %d", p.Partition)
		require.Positive(t, p.Bytes.Packs)
		require.Positive(t, p.Bytes.WAL)
	}
	require.Positive(t, call[admin.Storage](a, "GET", "/v1/storage?name_prefix=orders", "").Total.Bytes.Packs)

	member := a.consume("billing", "orders", 6*(count+1))
	g := call[admin.GroupDetails](a, "GET", "/v1/groups/billing", "")
	require.Equal(t, "Stable", g.State)
	require.Len(t, g.List, 1)
	require.Len(t, g.List[0].Assignment["orders"], 6)
	a.refused("NON_EMPTY_GROUP", "POST", "/v1/groups/billing/offsets", `{"to": "earliest"}`)
	a.refused("NON_EMPTY_GROUP", "DELETE", "/v1/groups/billing", "")
	member.Close()
	require.Eventually(t, func() bool {
		return call[admin.GroupDetails](a, "GET", "/v1/groups/billing", "").State == "Empty"
	}, step, 100*time.Millisecond)

	require.Zero(t, call[admin.GroupOffsets](a, "GET", "/v1/groups/billing/offsets", "").Lag)
	stamp := began.Add(-time.Second).UTC().Format(time.RFC3339Nano)
	plan := call[admin.ResetDone](a, "POST", "/v1/groups/billing/offsets?dry_run=true", fmt.Sprintf(`{"to": "timestamp", "timestamp": %q}`, stamp))
	require.Len(t, plan.Partitions, 6)
	for _, p := range plan.Partitions {
		require.Equal(t, int64(count), int64(p.New), "the record that is not sealed")
	}
	call[admin.ResetDone](a, "POST", "/v1/groups/billing/offsets", `{"to": "offset", "offset": 7}`)
	described := a.tool(rig.ConsumerGroups, "--describe", "--group", "billing")
	for line := range strings.Lines(described) {
		if f := strings.Fields(line); len(f) > 5 && f[0] == "billing" {
			require.Equal(t, []string{"7", "21", "14"}, f[3:6], "committed, end and lag: %s", line)
		}
	}
	a.tool(rig.ConsumerGroups, "--reset-offsets", "--group", "billing", "--topic", "orders", "--shift-by", "3", "--execute")
	lag := call[admin.GroupOffsets](a, "GET", "/v1/groups/billing/offsets", "")
	require.Len(t, lag.Offsets, 6)
	for _, o := range lag.Offsets {
		require.Equal(t, []int64{10, 11}, []int64{int64(o.Committed), o.Lag})
		require.InDelta(t, 11.0/21*100, o.Retention, 0.01)
		require.GreaterOrEqual(t, *o.Behind, time.Minute.Milliseconds()-1000)
	}
	call[admin.Changed](a, "DELETE", "/v1/groups/billing/offsets?topic=orders&partition=5", "")
	require.Len(t, call[admin.GroupOffsets](a, "GET", "/v1/groups/billing/offsets", "").Offsets, 5)
	require.Equal(t, 1, call[admin.Groups](a, "GET", "/v1/groups", "").Total)
}

func (a *admins) moves() {
	t := a.t
	call[admin.PartitionsChanged](a, "POST", "/v1/reassignments", `{"partitions": [{"topic": "orders", "partition": 0, "replicas": [3, 1]}]}`)
	require.Eventually(t, func() bool {
		found, err := a.world.admin.ListTopics(t.Context(), "orders")
		p := found["orders"].Partitions[0]
		return err == nil && fmt.Sprint(p.Replicas) == "[3 1]" && slices.Contains(p.Replicas, p.Leader) // else it is going on
	}, step, 20*time.Millisecond)
	file := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"version": 1, "partitions": [{"topic": "orders", "partition": 0, "replicas": [2, 3]}]}`), 0o600))
	a.tool(rig.ReassignCommand, "--execute", "--reassignment-json-file", file)
	p := call[admin.Partition](a, "GET", "/v1/topics/orders/partitions/0", "")
	require.Equal(t, "[2 3]", fmt.Sprint(p.Replicas))
	call[admin.PartitionsChanged](a, "POST", "/v1/elections", `{"type": "preferred"}`)

	call[admin.Changed](a, "PUT", "/v1/brokers/2/drain", `{"drain": true}`)
	a.awaitLeads(2, func(n int) bool { return n == 0 })
	call[admin.Changed](a, "PUT", "/v1/brokers/2/drain", `{"drain": false}`)
	a.awaitLeads(2, func(n int) bool { return n > 0 })
}

// awaitLeads waits until the number of partitions that a broker leads is as wanted.
func (a *admins) awaitLeads(broker int, wanted func(int) bool) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		return wanted(call[admin.Broker](a, "GET", "/v1/brokers/"+strconv.Itoa(broker), "").Leads)
	}, step, 200*time.Millisecond)
}

func (a *admins) history() {
	t := a.t
	collector := a.function("collector", "FOREBAY_COLLECT_GRACE=41m")
	a.invoke(collector)
	require.Positive(t, call[admin.CollectorReport](a, "GET", "/v1/collector", "").Report.Packs.Kept.Objects)
	ours, theirs := 0, 0
	for _, c := range call[admin.Audit](a, "GET", "/v1/audit?page_size=1000", "").Changes {
		switch c.By {
		case ada.ARN:
			ours++
			require.True(t, strings.Contains(c.Via.API, " /v1/"), "%+v", c)
		case "User:ANONYMOUS":
			theirs++
		}
	}
	require.GreaterOrEqual(t, ours, 10)
	require.GreaterOrEqual(t, theirs, 4, "Kafka's tools")
	require.Len(t, call[admin.Audit](a, "GET", "/v1/audit?resource=topic/kafkas", "").Changes, 2)
}

// down: everything goes on with no broker alive, and the brokers that come back find it.
func (a *admins) down() {
	t := a.t
	require.NoError(t, a.cluster.KillAll())
	require.False(t, *call[admin.Broker](a, "GET", "/v1/brokers/1?observe=true", "").Session.Renewed)
	var swept struct {
		Result struct{ Alive, Dead int } `json:"result"`
	}
	sweep := a.function("sweep")
	require.NoError(t, sweep.Invoke(t.Context(), step, map[string]string{}, &swept))
	require.Equal(t, []int{0, 3}, []int{swept.Result.Alive, swept.Result.Dead})
	require.Zero(t, call[admin.Cluster](a, "GET", "/v1/cluster", "").Alive)

	lag := call[admin.GroupOffsets](a, "GET", "/v1/groups/billing/offsets", "")
	require.Equal(t, int64(5*11), lag.Lag)
	call[admin.ResetDone](a, "POST", "/v1/groups/billing/offsets", `{"to": "shift", "shift": -4}`)
	call[admin.ConfigsChanged](a, "PATCH", "/v1/configs/topics/orders", `{"set": {"retention.ms": "604800000"}}`)
	a.refused("INVALID_REPLICATION_FACTOR", "POST", "/v1/topics", `{"name": "nobody-to-lead-it"}`)

	require.NoError(t, a.cluster.StartAll(t.Context()))
	described := a.tool(rig.ConsumerGroups, "--describe", "--group", "billing")
	seen := 0
	for line := range strings.Lines(described) {
		if f := strings.Fields(line); len(f) > 5 && f[0] == "billing" && f[3] != "-" {
			require.Equal(t, []string{"6", "21", "15"}, f[3:6], "%s", line)
			seen++
		}
	}
	require.Equal(t, 5, seen, "%s", described)
	call[admin.Changed](a, "DELETE", "/v1/groups/billing", "")
	call[admin.TopicChanged](a, "POST", "/v1/topics", `{"name": "after", "partitions": 3}`)
	for p, records := range a.read("orders") {
		require.Len(t, records, 21, "partition %d", p)
	}
}

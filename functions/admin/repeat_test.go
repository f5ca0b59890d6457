package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// TestRepeatedReset: the answer is about what was done, and not about what would be done now.
func TestRepeatedReset(t *testing.T) {
	r, table, topic := newGroup(t)
	const path, key = "/v1/groups/g/offsets", "Idempotency-Key: k"
	for i, body := range []string{`{"to": "shift", "shift": 5}`, `{"to": "shift", "shift": 5, "topics": [{"topic": "log", "partitions": [0]}]}`} {
		key, now := key+strconv.Itoa(i), id.Offset(25+5*i)
		first := ask[ResetDone](r, "POST", path, body, key)
		require.Equal(t, now, first.Partitions[0].New)
		for _, dry := range []string{"", "?dry_run=true"} {
			again := ask[ResetDone](r, "POST", path+dry, body, key)
			require.Equal(t, Changed{DryRun: dry != "", Repeat: true, Version: first.Version}, again.Changed)
			require.Equal(t, []ResetPartition{{Topic: "log", Committed: &now, New: now}}, again.Partitions)
		}
	}
	_, state, ok := core.ShardOf(r.image(), core.OffsetsTopic, "g")
	require.True(t, ok)
	require.NoError(t, table.Commit(t.Context(), "g", state.Epoch, []offsets.Entry{{Topic: topic, TopicName: "log", Offset: 33, LeaderEpoch: -1, CommitTime: r.now}}))
	require.Equal(t, id.Offset(33), ask[ResetDone](r, "POST", path, `{"to": "shift", "shift": 5}`, key+"0").Partitions[0].New, "the group has gone on")
	r.refused(http.StatusUnprocessableEntity, "", "POST", path, `{"to": "latest"}`, key+"0")

	ask[Changed](r, "DELETE", "/v1/topics/log", "")
	require.True(t, ask[ResetDone](r, "POST", path, `{"to": "shift", "shift": 5}`, key+"0").Repeat, "though the topic is gone")
	r.refused(http.StatusBadRequest, "", "POST", path, `{"to": "shift", "shift": 5}`, key+"9")
}

// TestRepeatedDeletion: what is asked for again is not there any more, and that is no error.
func TestRepeatedDeletion(t *testing.T) {
	r, _, _ := newGroup(t)
	const path, key = "/v1/groups/g/offsets?topic=log&partition=0", "Idempotency-Key: k"
	ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "latest", "topics": [{"topic": "log"}]}`)
	first := ask[Changed](r, "DELETE", path, "", key)
	require.False(t, first.Repeat)
	again := func() {
		t.Helper()
		require.Equal(t, Changed{Repeat: true, Version: first.Version}, ask[Changed](r, "DELETE", path, "", key))
		require.Equal(t, Changed{DryRun: true, Repeat: true, Version: first.Version}, ask[Changed](r, "DELETE", path+"&dry_run=true", "", key))
	}
	again()
	ask[Changed](r, "DELETE", "/v1/groups/g", "", key+"g")
	r.refused(http.StatusNotFound, "GROUP_ID_NOT_FOUND", "DELETE", path, "")
	again()
	require.True(t, ask[Changed](r, "DELETE", "/v1/groups/g", "", key+"g").Repeat)
	ask[Changed](r, "DELETE", "/v1/topics/log", "")
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "DELETE", path, "")
	again()
	r.refused(http.StatusUnprocessableEntity, "", "DELETE", "/v1/groups/g/offsets?topic=log&partition=1", "", key)
	r.refused(http.StatusUnprocessableEntity, "", "DELETE", "/v1/groups/h/offsets?topic=log&partition=0", "", key)
}

// TestRepeatedMeanwhile: a request that finds nothing left, since another with its key was carried out in between, is told so.
func TestRepeatedMeanwhile(t *testing.T) {
	r, _, _ := newGroup(t)
	const path, key = "/v1/groups/g/offsets?topic=log&partition=0", "Idempotency-Key: k"
	ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "latest", "topics": [{"topic": "log"}]}`)
	other := New(r.cfg)
	t.Cleanup(func() { require.NoError(t, other.Close(context.Background())) })
	first := *r
	first.handler = Guard(other, func(*http.Request) (Caller, error) { return r.caller, nil })
	done := false
	r.api.groups = offsets.Open(kv.Inject(r.cfg.Offsets, func(kv.Op) kv.Fault {
		if !done {
			done = true
			ask[Changed](&first, "DELETE", path, "", key)
			ask[Changed](&first, "DELETE", "/v1/groups/g", "")
		}
		return kv.FaultNone
	}), offsets.Sole)
	require.True(t, ask[Changed](r, "DELETE", path, "", key).Repeat)
	require.True(t, done)
}

// TestDeletedMeanwhile: whoever finds that another has deleted the topic is told so, whenever that was.
func TestDeletedMeanwhile(t *testing.T) {
	r := newRig(t)
	other := New(r.cfg)
	t.Cleanup(func() { require.NoError(t, other.Close(context.Background())) })
	first := *r
	first.handler = Guard(other, func(*http.Request) (Caller, error) { return r.caller, nil })
	in, deleted := 0, true // after how many operations on the metadata the other deletes the topic, and whether it was there to do so
	r.api.cfg.Metadata = kv.Inject(r.cfg.Metadata, func(kv.Op) kv.Fault {
		if in--; in == 0 {
			deleted = first.send("DELETE", "/v1/topics/t", "").Code == http.StatusOK
		}
		return kv.FaultNone
	})
	gone := map[string]bool{}
	for n := 1; deleted; n++ {
		ask[TopicChanged](&first, "POST", "/v1/topics", `{"name": "t"}`)
		in, deleted = n, false
		w := r.send("DELETE", "/v1/topics/t", "")
		if !deleted {
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			continue
		}
		var p Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		require.Equal(t, http.StatusNotFound, w.Code, w.Body)
		gone[p.KafkaError] = true
	}
	require.Equal(t, map[string]bool{"UNKNOWN_TOPIC_OR_PARTITION": true, "UNKNOWN_TOPIC_ID": true}, gone)
}

// TestKeyThatCannotBeRemembered: the metadata is at a level that has no keys. A dry run says so, too.
func TestKeyThatCannotBeRemembered(t *testing.T) {
	r := newRig(t)
	r.cfg.Metadata = kv.NewMem()
	r.api.cfg.Metadata = r.cfg.Metadata
	meta, err := metalog.Open(t.Context(), metalog.Options{Store: r.cfg.Metadata, Objects: r.cfg.Objects, MaxLevel: 1})
	require.NoError(t, err)
	require.NoError(t, meta.Close(t.Context()))
	r.append(topic("log", 1))
	const path, body = "/v1/groups/g/offsets", `{"to": "latest", "topics": [{"topic": "log"}]}`
	for _, dry := range []string{"", "?dry_run=true"} {
		r.refused(http.StatusConflict, "UNSUPPORTED_VERSION", "POST", path+dry, body, "Idempotency-Key: k")
	}
	require.True(t, ask[ResetDone](r, "POST", path+"?dry_run=true", body).DryRun, "without a key")
}

// TestRepeatedTopic: the topic of the answer is the one that was made, also when there is none or another of the name.
func TestRepeatedTopic(t *testing.T) {
	r := newRig(t)
	const body, key = `{"name": "t", "partitions": 3, "configs": {"retention.ms": "1000"}}`, "Idempotency-Key: k"
	first := ask[TopicChanged](r, "POST", "/v1/topics", body, key)
	grown := ask[TopicChanged](r, "POST", "/v1/topics/t/partitions", `{"count": 5}`, key+"g")
	patched := ask[ConfigsChanged](r, "PATCH", "/v1/configs/topics/t", `{"set": {"retention.ms": "5"}}`, key+"c")
	repeats := func() {
		t.Helper()
		first.Repeat, grown.Repeat, patched.Repeat = true, true, true
		require.Equal(t, first, ask[TopicChanged](r, "POST", "/v1/topics", body, key))
		again := ask[TopicChanged](r, "POST", "/v1/topics/t/partitions", `{"count": 5}`, key+"g")
		require.Equal(t, grown.Changed, again.Changed)
		require.Equal(t, []any{"t", grown.Topic.ID, 5}, []any{again.Topic.Name, again.Topic.ID, again.Topic.Partitions})
		require.NotNil(t, again.Topic.Configs)
		require.Equal(t, patched.Changed, ask[ConfigsChanged](r, "PATCH", "/v1/configs/topics/t", `{"set": {"retention.ms": "5"}}`, key+"c").Changed)
	}
	repeats()
	ask[Changed](r, "DELETE", "/v1/topics/t", "")
	repeats()
	ask[TopicChanged](r, "POST", "/v1/topics", `{"name": "t"}`)
	repeats()
}

// TestRepeatedElection: of all that needed one; they need none any more, or others do.
func TestRepeatedElection(t *testing.T) {
	r := newRig(t, topic("a", 1), topic("t", 2), topic("u", 2))
	r.replicate("t", 1, 2, 1)
	r.replicate("u", 0, 2, 1)
	const body, key = `{"type": "preferred"}`, "Idempotency-Key: k"
	first := ask[PartitionsChanged](r, "POST", "/v1/elections", body, key)
	require.Equal(t, []PartitionOutcome{{Topic: "t", Partition: 1}, {Topic: "u"}}, first.Partitions)
	first.Repeat = true
	require.Equal(t, first, ask[PartitionsChanged](r, "POST", "/v1/elections", body, key))
	r.append(metalog.LeadersChanged{Changes: []metalog.LeaderChange{
		{Partition: r.partition("t", 1), Leader: 2, Epoch: 1}, {Partition: r.partition("u", 0), Leader: 2, Epoch: 1},
	}})
	require.Equal(t, first, ask[PartitionsChanged](r, "POST", "/v1/elections", body, key))
	r.replicate("a", 0, 2, 1)
	more := ask[PartitionsChanged](r, "POST", "/v1/elections", body, key)
	require.Equal(t, append([]PartitionOutcome{{Topic: "a"}}, first.Partitions...), more.Partitions)
	require.False(t, more.Repeat, "something is new")
}

// TestRepeatedElectionOfSome: of topics whose election fails no key is kept, and they are asked again.
func TestRepeatedElectionOfSome(t *testing.T) {
	r := newRig(t, topic("a", 1), topic("t", 1), topic("u", 2))
	r.replicate("a", 0, 3, 1)
	r.replicate("t", 0, 2, 1)
	r.replicate("u", 1, 2, 1)
	three, _ := r.image().Broker(3)
	r.append(metalog.BrokerFenced{ID: 3, Session: three.Incarnation})
	elect := func() (Changed, []string) {
		t.Helper()
		out := ask[PartitionsChanged](r, "POST", "/v1/elections", `{"type": "preferred"}`, "Idempotency-Key: k")
		var errs []string
		for i, p := range out.Partitions {
			require.Equal(t, []string{"a", "t", "u"}[i], p.Topic)
			errs = append(errs, p.KafkaError)
		}
		return out.Changed, errs
	}
	first, errs := elect()
	require.Equal(t, []string{"PREFERRED_LEADER_NOT_AVAILABLE", "", ""}, errs)
	again, same := elect()
	require.Equal(t, errs, same)
	require.Equal(t, Changed{Repeat: true, Version: first.Version}, again)
	r.replicate("a", 0, 2, 1)
	more, errs := elect()
	require.Equal(t, []string{"", "", ""}, errs)
	require.False(t, more.Repeat, "what failed is held now")
}

// TestRepeatedInPart: what was refused the first time is not called done the second time.
func TestRepeatedInPart(t *testing.T) {
	r := newRig(t, topic("t", 2), topic("u", 2))
	const key = "Idempotency-Key: k"
	refusals := func(path, body, key string) (Changed, []string) {
		t.Helper()
		out := ask[PartitionsChanged](r, "POST", path, body, key)
		var errs []string
		for _, p := range out.Partitions {
			errs = append(errs, p.KafkaError)
		}
		return out.Changed, errs
	}
	const unknown, notDone = "UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_SERVER_ERROR"
	moves := `{"partitions": [{"topic": "t", "partition": 0, "replicas": [2]}, {"topic": "t", "partition": 99, "replicas": [1]}, {"topic": "nosuch", "partition": 0, "replicas": [1]}, {"topic": "u", "partition": 0, "replicas": [2]}]}`
	first, errs := refusals("/v1/reassignments", moves, key)
	require.Equal(t, []string{"", unknown, unknown, ""}, errs)
	require.False(t, first.Repeat)
	for _, dry := range []string{"", "?dry_run=true"} {
		again, errs := refusals("/v1/reassignments"+dry, moves, key)
		require.Equal(t, []string{"", notDone, unknown, ""}, errs)
		require.Equal(t, Changed{DryRun: dry != "", Repeat: true, Version: first.Version}, again)
	}

	elections := `{"type": "preferred", "partitions": [{"topic": "t", "partition": 0}, {"topic": "t", "partition": 1}]}`
	_, errs = refusals("/v1/elections", elections, key+"e")
	require.Equal(t, []string{"", "ELECTION_NOT_NEEDED"}, errs)
	again, errs := refusals("/v1/elections", elections, key+"e")
	require.Equal(t, []string{"", notDone}, errs)
	require.True(t, again.Repeat)
}

// TestRepeatedTooLate: what a request changed is in records that are kept for a time. Without them there is no answer, rather than a wrong one.
func TestRepeatedTooLate(t *testing.T) {
	r := newRig(t, topic("t", 1))
	const create, move, key = `{"name": "u", "partitions": 1}`, `{"partitions": [{"topic": "t", "partition": 0, "replicas": [2]}]}`, "Idempotency-Key: k"
	ask[TopicChanged](r, "POST", "/v1/topics", create, key+"u")
	ask[PartitionsChanged](r, "POST", "/v1/reassignments", move, key)
	ask[TopicChanged](r, "POST", "/v1/topics", `{"name": "v", "partitions": 1}`)
	meta, err := metalog.Open(t.Context(), metalog.Options{Store: r.cfg.Metadata, Objects: r.cfg.Objects, KeepSlots: 1})
	require.NoError(t, err)
	require.NoError(t, meta.Snapshot(t.Context()))
	require.NoError(t, meta.Close(t.Context()))
	require.True(t, ask[PartitionsChanged](r, "POST", "/v1/reassignments", move, key).Repeat, "of the archive")
	for o, err := range r.cfg.Objects.List(t.Context(), metalog.ArchivePrefix, "") {
		require.NoError(t, err)
		require.NoError(t, r.cfg.Objects.Delete(t.Context(), o.Key))
	}
	require.Contains(t, r.refused(http.StatusConflict, "", "POST", "/v1/reassignments", move, key).Detail, "not kept any more")
	r.refused(http.StatusConflict, "", "POST", "/v1/topics", create, key+"u")
}

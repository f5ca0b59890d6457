package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// audited returns what the metadata log says of who asked for changes.
func (r *rig) audited() (all []metalog.Audited) {
	r.t.Helper()
	slots, err := metalog.Slots(r.t.Context(), r.cfg.Metadata, 1, 0)
	require.NoError(r.t, err)
	for _, s := range slots {
		for _, record := range s.Records {
			if a, ok := record.(metalog.Audited); ok {
				all = append(all, a)
			}
		}
	}
	return all
}

func TestTopicChanges(t *testing.T) {
	r := newRig(t)
	const body = `{"name": "t", "partitions": 3, "replication_factor": 2, "configs": {"retention.ms": "1000"}}`
	before := r.image().Version()
	dry := ask[TopicChanged](r, "POST", "/v1/topics?dry_run=true", body)
	require.True(t, dry.DryRun)
	require.Equal(t, Topic{Name: "t", Partitions: 3, Replicas: 2, Configs: map[string]string{"retention.ms": "1000"}}, dry.Topic)
	require.Equal(t, before, r.image().Version())

	made := ask[TopicChanged](r, "POST", "/v1/topics", body, "User-Agent: test/1")
	require.Equal(t, before+1, made.Version)
	require.NotEmpty(t, made.Topic.ID)
	require.Equal(t, made.Topic, ask[Topic](r, "GET", "/v1/topics/t", ""))
	a := r.audited()[0]
	require.Equal(t, r.caller.Principal, a.By)
	require.Equal(t, metalog.Via{API: "POST /v1/topics", Client: "test/1", Address: "192.0.2.1"}, a.Via)
	require.Equal(t, r.now.UnixMilli(), a.At)

	r.refused(http.StatusConflict, "TOPIC_ALREADY_EXISTS", "POST", "/v1/topics", body)
	r.refused(http.StatusConflict, "TOPIC_ALREADY_EXISTS", "POST", "/v1/topics?dry_run=true", body)
	r.refused(http.StatusBadRequest, "INVALID_CONFIG", "POST", "/v1/topics", `{"name": "u", "configs": {"no.such": "1"}}`)
	r.refused(http.StatusBadRequest, "INVALID_REPLICATION_FACTOR", "POST", "/v1/topics", `{"name": "u", "replication_factor": 9}`)
	r.refused(http.StatusUnprocessableEntity, "", "POST", "/v1/topics", `{"name": "u", "partition": 9}`)
	r.refused(http.StatusBadRequest, "", "POST", "/v1/topics", `{`)

	require.Equal(t, 5, ask[TopicChanged](r, "POST", "/v1/topics/t/partitions?dry_run=true", `{"count": 5}`).Topic.Partitions)
	require.Equal(t, 3, ask[Topic](r, "GET", "/v1/topics/t", "").Partitions)
	require.Equal(t, 5, ask[TopicChanged](r, "POST", "/v1/topics/t/partitions", `{"count": 5}`).Topic.Partitions)
	r.refused(http.StatusBadRequest, "INVALID_PARTITIONS", "POST", "/v1/topics/t/partitions", `{"count": 5}`)

	ask[Changed](r, "DELETE", "/v1/topics/t?dry_run=true", "")
	ask[Changed](r, "DELETE", "/v1/topics/t", "")
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "DELETE", "/v1/topics/t", "")
	require.Len(t, r.audited(), 3)
}

// TestIdempotency: a request is carried out once for its key, whoever repeats it is told so, and whoever asks for something
// else is refused.
func TestIdempotency(t *testing.T) {
	r := newRig(t)
	const create, key = `{"name": "t", "partitions": 3}`, "Idempotency-Key: k1"
	first := ask[TopicChanged](r, "POST", "/v1/topics", create, key)
	require.False(t, first.Repeat)
	again := ask[TopicChanged](r, "POST", "/v1/topics", create, key)
	require.True(t, again.Repeat)
	require.Equal(t, first.Topic, again.Topic)
	r.refused(http.StatusUnprocessableEntity, "", "POST", "/v1/topics", `{"name": "u"}`, key)
	ask[Changed](r, "DELETE", "/v1/topics/t", "", "Idempotency-Key: k2")
	require.True(t, ask[Changed](r, "DELETE", "/v1/topics/t", "", "Idempotency-Key: k2").Repeat, "though it is gone")
	r.caller.Principal = "arn:aws:iam::1:user/eve"
	r.refused(http.StatusUnprocessableEntity, "", "POST", "/v1/topics", create, key)
	require.Len(t, r.audited(), 2)
}

func TestConfigChanges(t *testing.T) {
	r := newRig(t, topic("t", 1))
	patch := `{"set": {"retention.ms": "5000"}, "append": {"cleanup.policy": "compact"}}`
	require.Empty(t, ask[ConfigsChanged](r, "PATCH", "/v1/configs/topics/t?dry_run=true", patch).Configs)
	set := ask[ConfigsChanged](r, "PATCH", "/v1/configs/topics/t", patch)
	require.Len(t, set.Configs, 2)
	require.Equal(t, "delete,compact", *set.Configs[0].Value)
	require.Equal(t, "topic", set.Configs[0].Source)
	require.Len(t, ask[Configs](r, "GET", "/v1/configs/topics/t?set=true", "").Configs, 2)
	require.Greater(t, len(ask[Configs](r, "GET", "/v1/configs/topics/t", "").Configs), 20)
	require.Len(t, ask[ConfigsChanged](r, "PATCH", "/v1/configs/topics/t", `{"delete": ["retention.ms"], "subtract": {"cleanup.policy": "delete"}}`).Configs, 1)

	ask[ConfigsChanged](r, "PATCH", "/v1/configs/brokers/default", `{"set": {"forebay.seal.enable": "false"}}`)
	require.Len(t, ask[Configs](r, "GET", "/v1/configs/brokers/default", "").Configs, 1)
	for _, c := range ask[Configs](r, "GET", "/v1/configs/brokers/2", "").Configs {
		if c.Name == "forebay.seal.enable" {
			require.Equal(t, []string{"false", "all-brokers"}, []string{*c.Value, c.Source})
		}
	}
	ask[ConfigsChanged](r, "PATCH", "/v1/configs/groups/g", `{"set": {"consumer.session.timeout.ms": "50000"}}`)
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "PATCH", "/v1/configs/topics/u", patch)
	r.refused(http.StatusNotFound, "BROKER_ID_NOT_REGISTERED", "GET", "/v1/configs/brokers/8", "")
	r.refused(http.StatusBadRequest, "INVALID_CONFIG", "PATCH", "/v1/configs/topics/t", `{"set": {"retention.ms": "soon"}}`)
	r.refused(http.StatusBadRequest, "", "PATCH", "/v1/configs/topics/t", `{}`)
	r.refused(http.StatusUnprocessableEntity, "", "GET", "/v1/configs/users/u", "")
}

// TestKeyOfTooMuch: one request cannot have the cluster forget the keys of others.
func TestKeyOfTooMuch(t *testing.T) {
	r := newRig(t)
	var list []string
	for i := range maxKeyed + 1 {
		list = append(list, fmt.Sprintf(`{"topic": "t%d", "partition": 0, "replicas": [1]}`, i))
	}
	body := func(n int) string { return `{"partitions": [` + strings.Join(list[:n], ",") + `]}` }
	r.refused(http.StatusBadRequest, "", "POST", "/v1/reassignments", body(maxKeyed+1), "Idempotency-Key: k")
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "POST", "/v1/reassignments", body(maxKeyed), "Idempotency-Key: k")
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "POST", "/v1/reassignments", body(maxKeyed+1))
}

func TestMoves(t *testing.T) {
	r := newRig(t, topic("t", 2))
	state := func(i int) metalog.PartitionState {
		to, _ := r.image().Topic("t")
		return to.Partitions[i]
	}
	out := ask[PartitionsChanged](r, "POST", "/v1/reassignments", `{"partitions": [{"topic": "t", "partition": 0, "replicas": [3, 2]}, {"topic": "u", "partition": 0, "replicas": [1]}]}`)
	require.Empty(t, out.Partitions[0].KafkaError)
	require.Equal(t, "UNKNOWN_TOPIC_OR_PARTITION", out.Partitions[1].KafkaError)
	require.Equal(t, []id.Broker{3, 2}, state(0).Replicas)
	require.Equal(t, id.Broker(3), state(0).Target)
	require.Len(t, ask[Leaders](r, "GET", "/v1/moves", "").Partitions, 1)
	ask[PartitionsChanged](r, "POST", "/v1/reassignments", `{"partitions": [{"topic": "t", "partition": 0}]}`)
	require.Equal(t, metalog.NoBroker, state(0).Target)
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "POST", "/v1/reassignments", `{"partitions": [{"topic": "u", "partition": 0, "replicas": [1]}]}`)

	r.replicate("t", 1, 2, 1)
	all := ask[PartitionsChanged](r, "POST", "/v1/elections", `{"type": "preferred"}`)
	require.Len(t, all.Partitions, 1)
	require.Equal(t, id.Broker(2), state(1).Target)
	r.refused(http.StatusConflict, "ELECTION_NOT_NEEDED", "POST", "/v1/elections", `{"type": "unclean", "partitions": [{"topic": "t", "partition": 0}]}`)
}

func (r *rig) partition(name string, index int32) id.Partition {
	t, _ := r.image().Topic(name)
	return id.Partition{Topic: t.ID, Index: index}
}

// replicate gives a partition replicas, the preferred one first, and leaves its leader.
func (r *rig) replicate(name string, index int32, replicas ...id.Broker) {
	r.t.Helper()
	r.append(metalog.ReplicasChanged{Changes: []metalog.ReplicasChange{{Partition: r.partition(name, index), Replicas: replicas}}})
}

func TestBrokerChanges(t *testing.T) {
	r := newRig(t, topic("t", 3))
	ask[Changed](r, "PUT", "/v1/brokers/1/drain", `{"drain": true}`)
	b := ask[Broker](r, "GET", "/v1/brokers/1", "")
	require.True(t, b.Draining)
	require.Len(t, ask[Leaders](r, "GET", "/v1/moves", "").Partitions, 3)
	ask[Changed](r, "PUT", "/v1/brokers/1/drain", `{"drain": false}`)
	require.False(t, ask[Broker](r, "GET", "/v1/brokers/1", "").Draining)
	r.refused(http.StatusNotFound, "BROKER_ID_NOT_REGISTERED", "PUT", "/v1/brokers/7/drain", `{"drain": true}`)

	r.refused(http.StatusConflict, "POLICY_VIOLATION", "DELETE", "/v1/brokers/3", "")
	three, _ := r.image().Broker(3)
	r.append(metalog.BrokerFenced{ID: 3, Session: three.Incarnation})
	ask[Changed](r, "DELETE", "/v1/brokers/3", "")
	require.Len(t, ask[Brokers](r, "GET", "/v1/brokers", "").Brokers, 2)
}

// TestNoOperation: that there is none is a problem, too.
func TestNoOperation(t *testing.T) {
	r := newRig(t, topic("t", 1))
	for _, path := range []string{"/", "/v1", "/v1/nothing", "/v2/topics"} {
		require.Contains(t, r.refused(http.StatusNotFound, "", "GET", path, "").Detail, path)
	}
	r.refused(http.StatusMethodNotAllowed, "", "PUT", "/v1/topics", "")
	require.Equal(t, "GET, HEAD, POST", r.send("PUT", "/v1/topics", "").Header().Get("Allow"))
	require.Equal(t, http.StatusOK, r.send("HEAD", "/v1/topics/t", "").Code)
	require.Equal(t, http.StatusTemporaryRedirect, r.send("GET", "/v1//topics", "").Code)
	r.refused(http.StatusUnsupportedMediaType, "", "POST", "/v1/topics", "{}", "Content-Type: text/plain")
	r.refused(http.StatusRequestEntityTooLarge, "", "POST", "/v1/topics", `{"name": "`+strings.Repeat("x", 1<<20)+`"}`)
}

func TestGuard(t *testing.T) {
	r := newRig(t, topic("t", 1))
	r.caller.Writes = false
	ask[Topic](r, "GET", "/v1/topics/t", "")
	r.refused(http.StatusForbidden, "", "DELETE", "/v1/topics/t", "")
	for status, err := range map[int]error{http.StatusUnauthorized: &Refusal{http.StatusUnauthorized, "who?"}, http.StatusForbidden: errors.New("no")} {
		w := httptest.NewRecorder()
		Guard(r.api, func(*http.Request) (Caller, error) { return Caller{}, err }).ServeHTTP(w, httptest.NewRequest("GET", "/v1/cluster", nil))
		require.Equal(t, status, w.Code)
		var p Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		require.Equal(t, status, p.Status)
	}
	require.Equal(t, http.StatusOK, r.send("GET", "/v1/openapi.yaml", "").Code)
}

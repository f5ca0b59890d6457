package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

const leader = id.Session("AAAAAAAAAAAAAAAAAAAAAA")

// rig is an API on the stores of a cluster whose brokers 1, 2 and 3 are registered and off.
type rig struct {
	t       *testing.T
	cfg     Config
	api     *API
	handler http.Handler
	now     time.Time
	caller  Caller
}

func newRig(t *testing.T, records ...metalog.Record) *rig {
	r := &rig{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), caller: Caller{Principal: "arn:aws:iam::1:user/ada", Address: "192.0.2.1", Writes: true}}
	r.cfg = Config{
		Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(), SessionTTL: 60 * time.Millisecond,
		Now: func() time.Time { return r.now },
	}
	r.api = New(r.cfg)
	t.Cleanup(func() { require.NoError(t, r.api.Close(context.Background())) })
	r.handler = Guard(r.api, func(*http.Request) (Caller, error) { return r.caller, nil })
	brokers := []metalog.Record{metalog.BrokerRegistered{ID: 1, Incarnation: leader, Rack: "a", Endpoints: []metalog.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}}}}
	for node := id.Broker(2); node <= 3; node++ {
		brokers = append(brokers, metalog.BrokerRegistered{ID: node, Incarnation: id.NewSession()})
	}
	r.append(append(brokers, records...)...)
	return r
}

// append appends to the metadata log, as a broker would.
func (r *rig) append(records ...metalog.Record) {
	r.t.Helper()
	meta, err := metalog.Open(r.t.Context(), metalog.Options{Store: r.cfg.Metadata, Objects: r.cfg.Objects})
	require.NoError(r.t, err)
	_, err = meta.Update(r.t.Context(), func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(r.t, err)
	require.NoError(r.t, meta.Close(r.t.Context()))
}

func (r *rig) image() *metalog.Image {
	r.t.Helper()
	img, err := metalog.Load(r.t.Context(), r.cfg.Metadata, r.cfg.Objects)
	require.NoError(r.t, err)
	return img
}

// send sends a request, with header lines as name: value, and returns the answer.
func (r *rig) send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

// ask sends a request that succeeds and decodes its answer.
func ask[T any](r *rig, method, path, body string, header ...string) (out T) {
	r.t.Helper()
	w := r.send(method, path, body, header...)
	require.Equal(r.t, http.StatusOK, w.Code, "%s %s: %s", method, path, w.Body)
	require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), &out))
	return out
}

// refused sends a request that fails, and checks the problem.
func (r *rig) refused(status int, kafka, method, path, body string, header ...string) Problem {
	r.t.Helper()
	w := r.send(method, path, body, header...)
	require.Equal(r.t, status, w.Code, "%s %s: %s", method, path, w.Body)
	require.Equal(r.t, "application/problem+json", w.Header().Get("Content-Type"))
	var p Problem
	require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(r.t, status, p.Status)
	require.Equal(r.t, kafka, p.KafkaError, p.Detail)
	require.NotEmpty(r.t, p.Detail)
	return p
}

// topic is a TopicCreated whose partitions broker 1 leads.
func topic(name string, partitions int) metalog.TopicCreated {
	created := metalog.TopicCreated{Name: name, ID: id.NewTopic(), ReplicationFactor: 2}
	for range partitions {
		created.Partitions = append(created.Partitions, metalog.Assignment{Leader: 1, Replicas: []id.Broker{1, 2}})
	}
	return created
}

// object stores records of a partition, one a second from r.now on the hour before, at their offsets.
func (r *rig) object(name string, p id.Partition, from, to id.Offset) (*pack.Footer, wal.ObjectRef) {
	r.t.Helper()
	var b bytes.Buffer
	out := pack.NewWriter(&b, pack.Header{Cluster: "c", Node: 1, Created: r.now})
	require.NoError(r.t, out.BeginRun(p))
	for at := from; at < to; at++ {
		require.NoError(r.t, out.Append(batch.New(batch.None).Base(at).Add(batch.Record{Timestamp: r.timeOf(at), Value: []byte("v")}).Build()))
	}
	require.NoError(r.t, out.EndRun(nil, nil))
	footer, err := out.Close()
	require.NoError(r.t, err)
	require.NoError(r.t, r.cfg.Objects.Put(r.t.Context(), name, bytes.NewReader(b.Bytes())))
	return footer, wal.ObjectRef{Name: name, Size: int64(b.Len())}
}

func (r *rig) timeOf(o id.Offset) int64 { return r.now.Add(-time.Hour).UnixMilli() + int64(o)*1000 }

// seal appends a segment to a chain.
func (r *rig) seal(p id.Partition, from, to id.Offset) {
	r.t.Helper()
	footer, ref := r.object(fmt.Sprintf("packs/%s-%d.pack", p, from), p, from, to)
	for _, err := range chain.Open(r.cfg.Metadata).Append(r.t.Context(), []chain.Link{{Partition: p, Segment: chain.SegmentOf(&footer.Runs[0], ref.Name, ref.Size)}}) {
		require.NoError(r.t, err)
	}
}

// commit puts records into the stream of broker 1, in the slot seq.
func (r *rig) commit(seq uint64, p id.Partition, from, to id.Offset) {
	r.t.Helper()
	_, ref := r.object(fmt.Sprintf("wal/%s/%d.pack", leader, seq), p, from, to)
	payload, err := json.Marshal(wal.Slot{Version: 1, Objects: []wal.ObjectRef{ref}})
	require.NoError(r.t, err)
	require.NoError(r.t, wal.Slots(r.cfg.Metadata, leader).Append(r.t.Context(), seq, payload))
}

// alive opens a session of a broker, and keeps it for the test.
func (r *rig) alive(node id.Broker, session_ id.Session) {
	r.t.Helper()
	s, err := session.Open(r.t.Context(), session.Config{Store: r.cfg.Metadata, Node: node, ID: session_, TTL: r.cfg.SessionTTL})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, s.Close(context.Background())) })
}

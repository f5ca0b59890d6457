package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/tiering/collect"
)

// newGroup is newLog with a group that has committed 20 of partition 0.
func newGroup(t *testing.T) (*rig, *offsets.Table, id.Topic) {
	r, topic := newLog(t)
	shards := metalog.TopicCreated{Name: "__consumer_offsets", ID: id.NewTopic(), ReplicationFactor: 1}
	for range 4 {
		shards.Partitions = append(shards.Partitions, metalog.Assignment{Leader: 2, Replicas: []id.Broker{2}})
	}
	r.append(shards)
	table := offsets.Open(r.cfg.Offsets, offsets.Sole)
	require.NoError(t, table.Commit(t.Context(), "g", 0, []offsets.Entry{{Topic: topic, TopicName: "log", Offset: 20, LeaderEpoch: -1, CommitTime: r.now}}))
	return r, table, topic
}

func TestReset(t *testing.T) {
	r, _, _ := newGroup(t)
	committed := func() []id.Offset {
		var at []id.Offset
		for _, o := range ask[GroupOffsets](r, "GET", "/v1/groups/g/offsets", "").Offsets {
			at = append(at, o.Committed)
		}
		return at
	}
	stamp := func(o id.Offset) string { return time.UnixMilli(r.timeOf(o)).UTC().Format(time.RFC3339Nano) }
	for body, want := range map[string]id.Offset{
		`{"to": "earliest"}`:                                           10,
		`{"to": "latest"}`:                                             40,
		`{"to": "current"}`:                                            20,
		`{"to": "offset", "offset": 33}`:                               33,
		`{"to": "offset", "offset": 99}`:                               40,
		`{"to": "offset", "offset": 1}`:                                10,
		`{"to": "shift", "shift": -5}`:                                 15,
		`{"to": "shift", "shift": 9223372036854775807}`:                40,
		fmt.Sprintf(`{"to": "timestamp", "timestamp": %q}`, stamp(25)): 25,
		fmt.Sprintf(`{"to": "timestamp", "timestamp": %q}`, stamp(35)): 35,
		fmt.Sprintf(`{"to": "timestamp", "timestamp": %q}`, stamp(3)):  10,
		`{"to": "timestamp", "timestamp": "2030-01-01T00:00:00Z"}`:     40,
	} {
		done := ask[ResetDone](r, "POST", "/v1/groups/g/offsets?dry_run=true", body)
		require.Equal(t, want, done.Partitions[0].New, body)
		require.Equal(t, id.Offset(20), *done.Partitions[0].Committed)
	}
	require.Equal(t, []id.Offset{20}, committed(), "nothing was changed")
	key := "Idempotency-Key: r1"
	require.False(t, ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "shift", "shift": 5}`, key).Repeat)
	require.True(t, ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "shift", "shift": 5}`, key).Repeat)
	require.Equal(t, []id.Offset{25}, committed(), "once")
	done := ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "earliest", "topics": [{"topic": "log"}]}`)
	require.Len(t, done.Partitions, 2)
	require.Nil(t, done.Partitions[1].Committed)
	require.Equal(t, []id.Offset{10, 0}, committed())

	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "POST", "/v1/groups/g/offsets", `{"to": "latest", "topics": [{"topic": "none"}]}`)
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "POST", "/v1/groups/g/offsets", `{"to": "latest", "topics": [{"topic": "log", "partitions": [2]}]}`)
	r.refused(http.StatusBadRequest, "", "POST", "/v1/groups/new/offsets", `{"to": "latest"}`)
	r.refused(http.StatusBadRequest, "", "POST", "/v1/groups/g/offsets", `{"to": "timestamp"}`)
	r.refused(http.StatusUnprocessableEntity, "", "POST", "/v1/groups/g/offsets", `{"to": "nowhere"}`)
}

func TestGroupDeletions(t *testing.T) {
	r, table, _ := newGroup(t)
	members := group.Snapshot{Generation: 1, ProtocolType: "consumer", Since: r.now, Members: []group.MemberSnapshot{{ID: "m"}}}
	require.NoError(t, table.StoreState(t.Context(), "g", 0, members.AppendTo(nil)))
	for _, dry := range []string{"", "dry_run=true"} {
		r.refused(http.StatusConflict, "NON_EMPTY_GROUP", "POST", "/v1/groups/g/offsets?"+dry, `{"to": "latest"}`)
		r.refused(http.StatusConflict, "NON_EMPTY_GROUP", "DELETE", "/v1/groups/g/offsets?topic=log&"+dry, "")
		r.refused(http.StatusConflict, "NON_EMPTY_GROUP", "DELETE", "/v1/groups/g?"+dry, "")
		r.refused(http.StatusNotFound, "GROUP_ID_NOT_FOUND", "DELETE", "/v1/groups/none?"+dry, "")
	}
	ask[ResetDone](r, "POST", "/v1/groups/g/offsets", `{"to": "latest", "expel": true}`)
	require.Equal(t, "Empty", ask[GroupDetails](r, "GET", "/v1/groups/g", "").State)
	ask[Changed](r, "DELETE", "/v1/groups/g/offsets?topic=log&partition=0", "")
	require.Empty(t, ask[GroupOffsets](r, "GET", "/v1/groups/g/offsets", "").Offsets)
	ask[Changed](r, "DELETE", "/v1/groups/g?dry_run=true", "")
	ask[Changed](r, "DELETE", "/v1/groups/g", "")
	r.refused(http.StatusNotFound, "GROUP_ID_NOT_FOUND", "GET", "/v1/groups/g", "")
}

func TestAudit(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		ask[TopicChanged](r, "POST", "/v1/topics", fmt.Sprintf(`{"name": "t%d"}`, i))
		r.now = r.now.Add(time.Minute)
	}
	r.caller.Principal = "User:eve"
	ask[Changed](r, "DELETE", "/v1/topics/t3", "")
	all := ask[Audit](r, "GET", "/v1/audit", "").Changes
	require.Len(t, all, 8)
	require.Equal(t, "topic.create", all[0].Action)
	require.Equal(t, "User:eve", all[7].By)
	var paged []AuditedChange
	for token := ""; ; {
		page := ask[Audit](r, "GET", "/v1/audit?page_size=3&page_token="+token, "")
		paged = append(paged, page.Changes...)
		if token = page.Next; token == "" {
			break
		}
	}
	require.Equal(t, all, paged)
	require.Len(t, ask[Audit](r, "GET", "/v1/audit?principal=User%3Aeve", "").Changes, 1)
	require.Len(t, ask[Audit](r, "GET", "/v1/audit?resource=topic/t3", "").Changes, 2)
	require.Len(t, ask[Audit](r, "GET", "/v1/audit?action=topic.cr", "").Changes, 7)
	require.Len(t, ask[Audit](r, "GET", "/v1/audit?since=2026-01-02T03:08:05Z", "").Changes, 4)
	r.refused(http.StatusBadRequest, "", "GET", "/v1/audit?page_token=x", "")
}

func TestCollectorReport(t *testing.T) {
	r, _ := newLog(t)
	r.refused(http.StatusNotFound, "", "GET", "/v1/collector", "")
	require.NoError(t, r.cfg.Objects.Put(t.Context(), "cluster-id", strings.NewReader(r.image().ClusterID())))
	run, err := collect.New(collect.Config{
		Metadata: r.cfg.Metadata, Objects: r.cfg.Objects,
		Image: func(ctx context.Context) (*metalog.Image, error) {
			return metalog.Load(ctx, r.cfg.Metadata, r.cfg.Objects)
		},
	}).Run(t.Context())
	require.NoError(t, err)
	last := ask[CollectorReport](r, "GET", "/v1/collector", "")
	require.Equal(t, run.Look, last.Report.Look)
	require.Equal(t, run.Packs, last.Report.Packs)
	require.Equal(t, int64(2), last.Report.Packs.Kept.Objects)
}

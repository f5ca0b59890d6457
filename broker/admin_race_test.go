package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
)

// raceOutcome is what an administrator was told of a change.
type raceOutcome string

const (
	raceMade    raceOutcome = "made"
	raceRefused raceOutcome = "refused"
	raceUnknown raceOutcome = "unknown"
)

// raceChange is a change that one of the administrators asks for, drawn at random.
type raceChange struct {
	Topic string
	Kind  int
	Value string
}

func drawRaceChange(rng *rand.Rand) raceChange {
	return raceChange{Topic: fmt.Sprint("topic.", rng.IntN(8)), Kind: rng.IntN(4), Value: fmt.Sprint(1000 + rng.IntN(1000))}
}

// racer asks for changes and remembers what became of each, by the client id under which it asked.
type racer struct {
	name     string
	rng      *rand.Rand
	ask      func(ctx context.Context, client string, ch raceChange) (raceOutcome, error)
	outcomes map[string]raceOutcome
	failed   error
}

func (r *racer) run(ctx context.Context, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	r.outcomes = map[string]raceOutcome{}
	for n := 0; ctx.Err() == nil && r.failed == nil; n++ {
		client := fmt.Sprintf("%s-%06d", r.name, n)
		r.outcomes[client], r.failed = r.ask(context.WithoutCancel(ctx), client, drawRaceChange(r.rng))
		<-tick.C // a load, not a wait
	}
}

// outcomeOf reads an error of admin.
func outcomeOf(err error) (raceOutcome, error) {
	ke := admin.KafkaError(err)
	switch {
	case err == nil:
		return raceMade, nil
	case ke == nil:
		return raceUnknown, err
	case errors.Is(ke, kerr.RequestTimedOut):
		return raceUnknown, nil
	}
	return raceRefused, nil
}

// functionRacer is a function on a table that fails, loses and delays; what it does not know it asks
// for again under the same key, until it knows.
func (c *testCluster) functionRacer(seed uint64) *racer {
	flaky := kv.NewFlaky(c.table, seed, kv.FlakyRates{Fail: 0.02, Lost: 0.05, Landed: 0.05, Late: 0.05, Read: 0.02})
	var log *metalog.Log
	require.Eventually(c.t, func() bool {
		var err error
		log, err = metalog.Open(context.Background(), metalog.Options{Store: flaky, Objects: c.objects, SnapshotEvery: 100, KeepSlots: 50})
		return err == nil
	}, time.Minute, time.Millisecond)
	c.t.Cleanup(func() { require.NoError(c.t, log.Close(context.Background())) })
	ask := func(ctx context.Context, client string, what raceChange) (raceOutcome, error) {
		who := admin.Actor{Principal: "arn:function", At: time.Now(), Via: metalog.Via{Client: client}}
		for doubt := false; ; {
			ch := what.change(log.Image())
			if err := ch.Idempotent(client, what); err != nil {
				return raceUnknown, err
			}
			try, cancel := context.WithTimeout(ctx, 5*time.Second)
			admin.Apply(try, log, who, ch)
			cancel()
			if ch.Repeated != nil {
				return raceMade, nil
			}
			if ch.Err == nil && what.Value[len(what.Value)-1]%2 == 0 { // as if the answer had not come
				continue
			}
			doubt = doubt || errors.Is(ch.Err, kv.ErrUnknown)
			if errors.Is(ch.Err, kv.ErrInjected) && !errors.Is(ch.Err, kv.ErrUnknown) {
				continue
			}
			outcome, err := outcomeOf(ch.Err)
			switch {
			case outcome == raceRefused && doubt: // as of then; what was sent before may still arrive
				return raceUnknown, nil
			case outcome != raceUnknown || err != nil:
				return outcome, err
			}
		}
	}
	return &racer{name: fmt.Sprint("function", seed), rng: rand.New(rand.NewPCG(seed, 1)), ask: ask}
}

// change is what a function applies.
func (ch raceChange) change(img *metalog.Image) *admin.Change {
	switch ch.Kind {
	case 0:
		return admin.Settings{}.CreateTopic(admin.NewTopic{Name: ch.Topic, Partitions: 1, Replicas: 1})
	case 1:
		var topic id.Topic
		if t, ok := img.Topic(ch.Topic); ok {
			topic = t.ID
		}
		return admin.DeleteTopic(topic, ch.Topic)
	case 2:
		t, _ := img.Topic(ch.Topic)
		more := int32(2)
		if t != nil {
			more = int32(len(t.Partitions) + 1)
		}
		return admin.AddPartitions(ch.Topic, more, nil)
	default:
		return admin.Settings{}.AlterConfigs(metalog.Resource{Type: metalog.ResourceTopic, Name: ch.Topic}, []admin.ConfigOp{{Name: "retention.ms", Value: &ch.Value}})
	}
}

// brokerRacer is a Kafka client of one broker.
func (c *testCluster) brokerRacer(node id.Broker) *racer {
	nc, err := net.Dial("tcp", c.members[node].Addrs()[0].String())
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = nc.Close() })
	ask := func(_ context.Context, asker string, what raceChange) (raceOutcome, error) {
		req := what.request(c.members[node].meta.Image())
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(asker)).AppendRequest(nil, req, 1)
		if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return raceUnknown, err
		}
		if _, err := nc.Write(frame); err != nil {
			return raceUnknown, err
		}
		resp := req.ResponseKind()
		b, err := (&client{nc: nc}).frame()
		if err != nil {
			return raceUnknown, err
		}
		if err := resp.ReadFrom(b[4:]); err != nil { // versions without tags in the header
			return raceUnknown, err
		}
		if err := kerr.ErrorForCode(codeIn(resp)); err != nil {
			return outcomeOf(err)
		}
		return raceMade, nil
	}
	return &racer{name: fmt.Sprint("client", node), rng: rand.New(rand.NewPCG(uint64(node), 2)), ask: ask}
}

// request is what a Kafka client asks for, in a version whose headers have no tags.
func (ch raceChange) request(img *metalog.Image) kmsg.Request {
	switch ch.Kind {
	case 0:
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 4
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = ch.Topic, 1, 1
		req.Topics = append(req.Topics, t)
		return req
	case 1:
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames = 3, []string{ch.Topic}
		return req
	case 2:
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version = 1
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = ch.Topic, 2
		if found, ok := img.Topic(ch.Topic); ok {
			t.Count = int32(len(found.Partitions) + 1)
		}
		req.Topics = append(req.Topics, t)
		return req
	default:
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, ch.Topic
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Name, rc.Value = "retention.ms", &ch.Value
		r.Configs = append(r.Configs, rc)
		req.Resources = append(req.Resources, r)
		return req
	}
}

// codeIn is the error of the one thing that a response is about.
func codeIn(resp kmsg.Response) int16 {
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		return r.Topics[0].ErrorCode
	case *kmsg.DeleteTopicsResponse:
		return r.Topics[0].ErrorCode
	case *kmsg.CreatePartitionsResponse:
		return r.Topics[0].ErrorCode
	case *kmsg.IncrementalAlterConfigsResponse:
		return r.Resources[0].ErrorCode
	default:
		return kerr.UnknownServerError.Code
	}
}

// TestAdministratorsRace: two functions, on a table that loses and delays their writes, and clients of three
// brokers change the same topics at once, while snapshots are made and slots archived. There is one order of
// changes; each that was acknowledged is in it once, with who asked for it, and none that was
// refused; and everybody comes to the same topics. FOREBAY_ADMIN_RACE tells for how long.
func TestAdministratorsRace(t *testing.T) {
	length := 5 * time.Second
	if text := os.Getenv("FOREBAY_ADMIN_RACE"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	c := newTestCluster(t)
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node)
	}
	racers := []*racer{c.functionRacer(1), c.functionRacer(2), c.brokerRacer(1), c.brokerRacer(2), c.brokerRacer(3)}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var racing sync.WaitGroup
	for _, r := range racers {
		racing.Go(func() { r.run(ctx, 25*time.Millisecond) })
	}
	racing.Wait()
	told := map[string]raceOutcome{}
	counts := map[raceOutcome]int{}
	for _, r := range racers {
		require.NoError(t, r.failed, r.name)
		for client, outcome := range r.outcomes {
			told[client] = outcome
			counts[outcome]++
		}
	}
	require.Greater(t, counts[raceMade], 50)
	require.Greater(t, counts[raceRefused], 5)

	slots, err := metalog.History(context.Background(), c.table, c.objects, 0, 0)
	require.NoError(t, err)
	checkAudit(t, slots, told)
	c.checkSameTopics(slots)
	t.Logf("%d slots, %v", len(slots), counts)
}

// checkAudit holds the history to what administrators were told.
func checkAudit(t *testing.T, slots []metalog.Slot, told map[string]raceOutcome) {
	t.Helper()
	seen := map[string]int{}
	for i, s := range slots {
		require.Equal(t, uint64(i+1), s.Seq, "one order without gaps")
		explained := 0
		for _, e := range s.Audit() {
			seen[e.Audited.Via.Client]++
			require.Len(t, e.Changes, 1)
			require.Equal(t, e.Audited.Action, actionOf(e.Changes[0]), "slot %d", s.Seq)
			explained++
		}
		changes := 0
		for _, r := range s.Records {
			if actionOf(r) != "" {
				changes++
			}
		}
		require.Equal(t, changes, explained, "slot %d: a change that nobody asked for, or the reverse", s.Seq)
	}
	for client, outcome := range told {
		switch outcome {
		case raceMade:
			require.Equal(t, 1, seen[client], client)
		case raceRefused:
			require.Zero(t, seen[client], client)
		case raceUnknown:
			require.LessOrEqual(t, seen[client], 1, client)
		}
		delete(seen, client)
	}
	require.Empty(t, seen, "somebody else's")
}

// actionOf is the action of which a record is the change, "" for what brokers do of themselves.
func actionOf(r metalog.Record) string {
	switch r.(type) {
	case metalog.TopicCreated:
		return admin.ActionCreateTopic
	case metalog.TopicDeleted:
		return admin.ActionDeleteTopic
	case metalog.PartitionsAdded:
		return admin.ActionAddPartitions
	case metalog.ConfigChanged:
		return admin.ActionAlterConfigs
	default:
		return ""
	}
}

// checkSameTopics replays the history: every record applies, and all that hold the metadata hold what comes of it.
func (c *testCluster) checkSameTopics(slots []metalog.Slot) {
	c.t.Helper()
	var records []metalog.Record
	names := map[string]bool{}
	ids := map[id.Topic]string{}
	for _, s := range slots {
		for _, r := range s.Records {
			switch r := r.(type) {
			case metalog.ClusterCreated:
				continue
			case metalog.TopicCreated:
				require.False(c.t, names[r.Name], "two topics %s at once", r.Name)
				names[r.Name], ids[r.ID] = true, r.Name
			case metalog.TopicDeleted:
				require.Contains(c.t, ids, r.ID)
				delete(names, ids[r.ID])
			}
			records = append(records, r)
		}
	}
	replayed := metalog.NewImage(c.image().ClusterID(), records...)
	require.Zero(c.t, replayed.Ignored())
	want := topicsOf(c.t, replayed)
	require.Equal(c.t, want, topicsOf(c.t, c.image()))
	for node, m := range c.members {
		require.NoError(c.t, m.meta.Refresh(context.Background()))
		require.Equal(c.t, want, topicsOf(c.t, m.meta.Image()), "broker %d", node)
	}
}

// topicsOf is what is the same wherever leaders have moved since.
func topicsOf(t *testing.T, img *metalog.Image) string {
	type topic struct {
		Name       string
		ID         string
		Partitions int
		Configs    map[string]string
	}
	var all []topic
	for _, have := range img.Topics() {
		all = append(all, topic{have.Name, have.ID.String(), len(have.Partitions), have.Configs})
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	return string(b)
}

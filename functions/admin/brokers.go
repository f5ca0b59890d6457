package admin

import (
	"context"
	"net/http"
	"time"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// Broker is a registered broker.
type Broker struct {
	ID        id.Broker          `json:"id"`
	Alive     bool               `json:"alive" doc:"Not fenced, and its session is there, which a node alone has none of; see observe"`
	Fenced    bool               `json:"fenced" doc:"The cluster has found it dead, or it has left"`
	Draining  bool               `json:"draining" doc:"It shall lead nothing"`
	Rack      string             `json:"rack,omitempty"`
	Endpoints []metalog.Endpoint `json:"endpoints"`
	Leads     int                `json:"leads" doc:"Partitions that it leads"`
	Incoming  int                `json:"incoming" doc:"Partitions that are to move to it"`
	Replicas  int                `json:"replicas" doc:"Partitions that have it among their replicas"`
	Session   *Session           `json:"session,omitempty" doc:"Missing: it has none"`
}

// Session is the lease by which a broker is known to be alive.
type Session struct {
	ID      id.Session `json:"id"`
	Node    id.Broker  `json:"node"`
	Info    string     `json:"info" doc:"Where the broker can be found"`
	Current bool       `json:"current" doc:"It is the one that the broker is registered with"`
	Renewed *bool      `json:"renewed,omitempty" doc:"With observe: it was renewed meanwhile, which a dead broker's is not"`
}

// Brokers are all brokers.
type Brokers struct {
	AsOf    time.Time `json:"as_of"`
	Brokers []Broker  `json:"brokers" doc:"In order of id"`
}

// Sessions are all sessions.
type Sessions struct {
	AsOf     time.Time `json:"as_of"`
	Sessions []Session `json:"sessions" doc:"In order of node id"`
}

// ObserveQuery asks whether sessions are renewed.
type ObserveQuery struct {
	Observe bool `query:"observe" doc:"Waits, up to the time after which a broker counts as dead, for each session to be renewed"`
}

// BrokerPath names a broker.
type BrokerPath struct {
	Broker int32 `path:"broker" minimum:"0"`
}

func (a *API) registerBrokers() {
	const tag = "brokers"
	handle(a, read("list-brokers", "/brokers", tag, "Brokers, with their sessions and what they lead"), func(ctx context.Context, in *ObserveQuery) (Brokers, error) {
		return a.brokers(ctx, in.Observe)
	})
	handle(a, read("get-broker", "/brokers/{broker}", tag, "One broker", http.StatusNotFound), a.getBroker)
	handle(a, read("list-sessions", "/sessions", tag, "Sessions of brokers"), a.listSessions)
	handle(a, write("remove-broker", http.MethodDelete, "/brokers/{broker}", tag, "Forgets a broker that is gone", http.StatusNotFound),
		func(ctx context.Context, in *struct {
			ChangeInput
			BrokerPath
		},
		) (Changed, error) {
			done, _, err := a.apply(ctx, in.ChangeInput, in.Broker, core.RemoveBroker(id.Broker(in.Broker)))
			return done, err
		})
	handle(a, write("drain-broker", http.MethodPut, "/brokers/{broker}/drain", tag, "Has a broker lead nothing, or lead again", http.StatusNotFound), a.drain)
}

func (a *API) brokers(ctx context.Context, observe bool) (Brokers, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Brokers{}, err
	}
	asOf := a.cfg.Now().UTC()
	sessions, err := a.sessions(ctx, img, observe)
	if err != nil {
		return Brokers{}, err
	}
	out := Brokers{AsOf: asOf, Brokers: make([]Broker, len(img.Brokers()))}
	index := map[id.Broker]*Broker{}
	for i, b := range img.Brokers() {
		_, inCluster := img.Stream(b.Incarnation)
		out.Brokers[i] = Broker{ID: b.ID, Alive: !b.Fenced && !inCluster, Fenced: b.Fenced, Draining: core.Draining(img, b.ID), Rack: b.Rack, Endpoints: append([]metalog.Endpoint{}, b.Endpoints...)}
		index[b.ID] = &out.Brokers[i]
	}
	for _, s := range sessions {
		if b := index[s.Node]; b != nil {
			b.Session = &s
			b.Alive = !b.Fenced && s.Current && (s.Renewed == nil || *s.Renewed)
		}
	}
	count(img, index)
	return out, nil
}

// count counts the partitions of each broker.
func count(img *metalog.Image, index map[id.Broker]*Broker) {
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if b := index[p.Leader]; b != nil {
				b.Leads++
			}
			if b := index[p.Target]; b != nil {
				b.Incoming++
			}
			for _, r := range p.Replicas {
				if b := index[r]; b != nil {
					b.Replicas++
				}
			}
		}
	}
}

func (a *API) getBroker(ctx context.Context, in *struct {
	ObserveQuery
	BrokerPath
},
) (Broker, error) {
	all, err := a.brokers(ctx, in.Observe)
	if err != nil {
		return Broker{}, err
	}
	for _, b := range all.Brokers {
		if b.ID == id.Broker(in.Broker) {
			return b, nil
		}
	}
	return Broker{}, unknownBroker(id.Broker(in.Broker))
}

// unknownBroker is Kafka's error for a broker that is not registered.
func unknownBroker(node id.Broker) error {
	_, err := core.FindResource(metalog.NewImage(""), metalog.Resource{Type: metalog.ResourceBroker, Name: node.String()})
	return err
}

func (a *API) listSessions(ctx context.Context, in *ObserveQuery) (Sessions, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Sessions{}, err
	}
	asOf := a.cfg.Now().UTC()
	found, err := a.sessions(ctx, img, in.Observe)
	return Sessions{AsOf: asOf, Sessions: found}, err
}

// sessions reads the sessions of all brokers and, if asked to observe, which of them are renewed within the TTL.
func (a *API) sessions(ctx context.Context, img *metalog.Image, observe bool) ([]Session, error) {
	watcher := session.NewWatcher(a.cfg.Metadata, a.cfg.SessionTTL)
	first, err := watcher.Poll(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]Session, len(first))
	for i, s := range first {
		b, ok := img.Broker(s.Node)
		found[i] = Session{ID: s.Session, Node: s.Node, Info: s.Info, Current: ok && b.Incarnation == s.Session}
	}
	if !observe {
		return found, nil
	}
	renewed, err := a.observe(ctx, watcher, first)
	for i := range found {
		found[i].Renewed = new(renewed[first[i].Node])
	}
	return found, err
}

// observe polls until every session has changed, or one has not for the TTL.
func (a *API) observe(ctx context.Context, watcher *session.Watcher, first []session.Seen) (map[id.Broker]bool, error) {
	pause := a.cfg.SessionTTL / 6
	tick := time.NewTicker(pause)
	defer tick.Stop()
	renewed := map[id.Broker]bool{}
	for waited := time.Duration(0); waited <= a.cfg.SessionTTL && len(renewed) < len(first); waited += pause {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return renewed, ctx.Err()
		}
		now, err := watcher.Poll(ctx)
		if err != nil {
			return renewed, err
		}
		for _, s := range first {
			for _, n := range now {
				if n.Node == s.Node && n.Session == s.Session && n.Version != s.Version {
					renewed[s.Node] = true
				}
			}
		}
	}
	return renewed, nil
}

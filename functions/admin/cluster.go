package admin

import (
	"context"
	"time"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/broker/takeover"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Cluster is a cluster at a glance.
type Cluster struct {
	ID         string           `json:"cluster_id"`
	Version    uint64           `json:"metadata_version" doc:"Slots of the metadata log"`
	AsOf       time.Time        `json:"as_of"`
	Brokers    int              `json:"brokers" doc:"Registered"`
	Alive      int              `json:"brokers_alive" doc:"Not fenced: see sessions for whether they still renew"`
	Topics     int              `json:"topics" doc:"Internal ones too"`
	Partitions int              `json:"partitions"`
	Leaderless int              `json:"leaderless_partitions" doc:"Of which no live broker is the leader"`
	Moving     int              `json:"moving_partitions" doc:"Whose leader shall hand over"`
	Streams    int              `json:"unreleased_streams" doc:"WAL streams of brokers that are gone, with records that are not sealed yet"`
	Features   map[string]int16 `json:"features" doc:"Levels that the cluster has agreed on"`
}

func (a *API) registerCluster() {
	handle(a, read("get-cluster", "/cluster", "cluster", "The cluster at a glance"), func(ctx context.Context, _ *struct{}) (Cluster, error) {
		img, err := a.image(ctx)
		if err != nil {
			return Cluster{}, err
		}
		c := Cluster{
			ID: img.ClusterID(), Version: img.Version(), AsOf: a.cfg.Now().UTC(), Brokers: len(img.Brokers()), Alive: len(placement.Live(img)),
			Topics: len(img.Topics()), Streams: len(takeover.Over(img)), Features: map[string]int16{},
		}
		for _, t := range img.Topics() {
			c.Partitions += len(t.Partitions)
			for i := range t.Partitions {
				p := &t.Partitions[i]
				if !placement.IsLive(img, p.Leader) {
					c.Leaderless++
				}
				if p.Target != metalog.NoBroker {
					c.Moving++
				}
			}
		}
		for _, f := range core.Features(metalog.LatestLevel) {
			c.Features[f.Name] = f.Level(img)
		}
		return c, nil
	})
}

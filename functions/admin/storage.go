package admin

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// TopicStorage is what a topic takes.
type TopicStorage struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Segments   int    `json:"segments" doc:"In packs"`
	Records    int64  `json:"sealed_records" doc:"In packs"`
	Bytes      Bytes  `json:"bytes"`
}

// Storage is a page of what topics take.
type Storage struct {
	AsOf   time.Time      `json:"as_of"`
	Topics []TopicStorage `json:"topics" doc:"In order of name"`
	Total  TopicStorage   `json:"total" doc:"Of this page"`
	Page
}

type storageInput struct {
	PageQuery
	Prefix string `query:"name_prefix"`
}

func (a *API) registerStorage() {
	handle(a, read("get-storage", "/storage", "storage", "What topics take, by tier"), a.storage)
}

func (a *API) storage(ctx context.Context, in *storageInput) (Storage, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Storage{}, err
	}
	asOf := a.cfg.Now().UTC()
	matching := prefixed(img.Topics(), in.Prefix, func(t *metalog.Topic) string { return t.Name })
	some, next, err := page(matching, func(t *metalog.Topic) string { return t.Name }, in.PageQuery)
	if err != nil {
		return Storage{}, err
	}
	var ps []id.Partition
	for _, t := range some {
		ps = append(ps, partitionsOf(t)...)
	}
	view, sealed, err := a.look(ctx, img, ps)
	if err != nil {
		return Storage{}, err
	}
	out := Storage{AsOf: asOf, Topics: make([]TopicStorage, len(some)), Page: next}
	n := 0
	for i, t := range some {
		s := &out.Topics[i]
		s.Topic, s.Partitions = t.Name, len(t.Partitions)
		for range t.Partitions {
			at, _ := view.Of(ps[n])
			s.Segments += sealed[n].Segments
			s.Records += sealed[n].Records
			s.Bytes.Packs += sealed[n].Bytes
			s.Bytes.WAL += at.WAL
			n++
		}
		out.Total.add(s)
	}
	return out, nil
}

func (s *TopicStorage) add(t *TopicStorage) {
	s.Partitions += t.Partitions
	s.Segments += t.Segments
	s.Records += t.Records
	s.Bytes.Packs += t.Bytes.Packs
	s.Bytes.WAL += t.Bytes.WAL
}

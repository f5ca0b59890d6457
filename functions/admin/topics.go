package admin

import (
	"context"
	"maps"
	"net/http"
	"sort"
	"strings"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Topic is a topic, without its partitions.
type Topic struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Partitions int               `json:"partitions"`
	Replicas   int16             `json:"replication_factor"`
	Internal   bool              `json:"internal"`
	Configs    map[string]string `json:"configs" doc:"Only what was set for the topic itself"`
}

func topicOf(t *metalog.Topic) Topic {
	configs := t.Configs
	if configs == nil {
		configs = map[string]string{}
	}
	return Topic{Name: t.Name, ID: t.ID.String(), Partitions: len(t.Partitions), Replicas: t.ReplicationFactor, Internal: core.IsInternal(t.Name), Configs: configs}
}

// Topics is a page of topics.
type Topics struct {
	Topics []Topic `json:"topics" doc:"In order of name"`
	Total  int     `json:"total" doc:"That match, on all pages"`
	Page
}

type topicsInput struct {
	PageQuery
	Prefix   string `query:"name_prefix"`
	Internal bool   `query:"internal" doc:"Internal topics too"`
}

// TopicPath names a topic.
type TopicPath struct {
	Topic string `path:"topic" maxLength:"249"`
}

func (a *API) registerTopics() {
	const tag = "topics"
	handle(a, read("list-topics", "/topics", tag, "Topics, a page at a time"), a.listTopics)
	handle(a, read("get-topic", "/topics/{topic}", tag, "One topic", http.StatusNotFound), func(ctx context.Context, in *TopicPath) (Topic, error) {
		_, t, err := a.topic(ctx, in.Topic)
		if err != nil {
			return Topic{}, err
		}
		return topicOf(t), nil
	})
	handle(a, write("create-topic", http.MethodPost, "/topics", tag, "Creates a topic"), a.createTopic)
	handle(a, write("delete-topic", http.MethodDelete, "/topics/{topic}", tag, "Deletes a topic with all its records", http.StatusNotFound), a.deleteTopic)
	handle(a, write("add-partitions", http.MethodPost, "/topics/{topic}/partitions", tag, "Adds partitions to a topic", http.StatusNotFound), a.addPartitions)
}

// topic returns the metadata as of now, and a topic of it.
func (a *API) topic(ctx context.Context, name string) (*metalog.Image, *metalog.Topic, error) {
	img, err := a.image(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, ok := img.Topic(name)
	if !ok {
		_, _, err := core.FindPartition(img, name, 0)
		return nil, nil, err
	}
	return img, t, nil
}

func (a *API) listTopics(ctx context.Context, in *topicsInput) (Topics, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Topics{}, err
	}
	matching := prefixed(img.Topics(), in.Prefix, func(t *metalog.Topic) string { return t.Name })
	if !in.Internal {
		var own []*metalog.Topic
		for _, t := range matching {
			if !core.IsInternal(t.Name) {
				own = append(own, t)
			}
		}
		matching = own
	}
	some, next, err := page(matching, func(t *metalog.Topic) string { return t.Name }, in.PageQuery)
	out := Topics{Topics: make([]Topic, len(some)), Total: len(matching), Page: next}
	for i, t := range some {
		out.Topics[i] = topicOf(t)
	}
	return out, err
}

// prefixed is what of a list in order of name has a prefix.
func prefixed[E any](list []E, prefix string, name func(E) string) []E {
	from := sort.Search(len(list), func(i int) bool { return name(list[i]) >= prefix })
	list = list[from:]
	return list[:sort.Search(len(list), func(i int) bool { return !strings.HasPrefix(name(list[i]), prefix) })]
}

// NewTopic is what is asked for.
type NewTopic struct {
	Name        string            `json:"name" maxLength:"249" minLength:"1"`
	Partitions  int32             `json:"partitions,omitempty" minimum:"1" maximum:"10000" doc:"The default of the cluster if it is missing"`
	Replicas    int16             `json:"replication_factor,omitempty" minimum:"1" doc:"The default of the cluster if it is missing"`
	Assignments [][]int32         `json:"assignments,omitempty" doc:"Replicas of each partition in order, instead of the two above"`
	Configs     map[string]string `json:"configs,omitempty"`
}

type createTopicInput struct {
	ChangeInput
	Body NewTopic
}

// TopicChanged is a topic after a change, or as it would be.
type TopicChanged struct {
	Changed
	Topic Topic `json:"topic"`
}

func (a *API) createTopic(ctx context.Context, in *createTopicInput) (TopicChanged, error) {
	b := in.Body
	t := core.NewTopic{Name: b.Name, Partitions: -1, Replicas: -1, Assignments: b.Assignments, Configs: b.Configs}
	if b.Partitions > 0 {
		t.Partitions = b.Partitions
	}
	if b.Replicas > 0 {
		t.Replicas = b.Replicas
	}
	ch := a.cfg.Settings().CreateTopic(t)
	done, _, err := a.apply(ctx, in.ChangeInput, b, ch)
	if err != nil {
		return TopicChanged{}, err
	}
	if err := a.recall(ctx, ch); err != nil {
		return TopicChanged{}, err
	}
	out := TopicChanged{Changed: done, Topic: Topic{Name: b.Name, Configs: map[string]string{}}}
	if made, ok := core.Made[metalog.TopicCreated](ch); ok {
		out.Topic = Topic{
			Name: made.Name, ID: made.ID.String(), Partitions: len(made.Partitions), Replicas: made.ReplicationFactor,
			Configs: map[string]string{},
		}
		maps.Copy(out.Topic.Configs, made.Configs)
		if done.DryRun {
			out.Topic.ID = ""
		}
	}
	return out, nil
}

type deleteTopicInput struct {
	ChangeInput
	TopicPath
}

func (a *API) deleteTopic(ctx context.Context, in *deleteTopicInput) (Changed, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Changed{}, err
	}
	var topic id.Topic // none: a request with the same key may have deleted it
	if t, ok := img.Topic(in.Topic); ok {
		topic = t.ID
	}
	done, _, err := a.apply(ctx, in.ChangeInput, in.Topic, core.DeleteTopic(topic, in.Topic))
	if k := core.KafkaError(err); k != nil && k.Message == "UNKNOWN_TOPIC_ID" && topic.IsZero() { // one that was there is gone meanwhile
		_, _, err = core.FindPartition(img, in.Topic, 0)
	}
	return done, err
}

// Growth is what is asked for.
type Growth struct {
	Count       int32     `json:"count" minimum:"1" maximum:"10000" doc:"How many there shall be then"`
	Assignments [][]int32 `json:"assignments,omitempty" doc:"Replicas of each new partition in order"`
}

type addPartitionsInput struct {
	ChangeInput
	TopicPath
	Body Growth
}

func (a *API) addPartitions(ctx context.Context, in *addPartitionsInput) (TopicChanged, error) {
	ch := core.AddPartitions(in.Topic, in.Body.Count, in.Body.Assignments)
	done, img, err := a.apply(ctx, in.ChangeInput, []any{in.Topic, in.Body}, ch)
	if err != nil {
		return TopicChanged{}, err
	}
	if err := a.recall(ctx, ch); err != nil {
		return TopicChanged{}, err
	}
	added, _ := core.Made[metalog.PartitionsAdded](ch)
	out := TopicChanged{Changed: done, Topic: Topic{Name: in.Topic, ID: added.ID.String(), Configs: map[string]string{}}}
	now, ok := img.TopicByID(added.ID)
	if ok { // else it is gone since
		out.Topic = topicOf(now)
	}
	if !ok || done.DryRun || done.Repeat {
		out.Topic.Partitions = int(in.Body.Count)
	}
	return out, nil
}

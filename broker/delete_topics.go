package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// DeleteTopics (key 20), versions 1 to 6; by id from version 6 on.
//
// Deviations: the timeout is not looked at, since a topic is gone when the response
// is sent; the topic of the group coordinators is refused with INVALID_TOPIC_EXCEPTION.

// handleDeleteTopics deletes topics, each of which succeeds or fails on its own.
func handleDeleteTopics(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DeleteTopicsRequest](c)
	resp := responseTo[*kmsg.DeleteTopicsResponse](req)
	img := b.meta.Image()
	asked := deletions(req)
	ids, counts := make([]id.Topic, len(asked)), make(map[id.Topic]int)
	outcome := make([]*admin.Change, len(asked))
	for i, rt := range asked {
		t, err := topicToDelete(img, rt)
		outcome[i] = refused(err)
		if err == nil {
			ids[i] = t.ID
			counts[t.ID]++
			asked[i].Topic, asked[i].TopicID = &t.Name, t.ID
		}
	}
	var changes []*admin.Change
	for i := range asked {
		switch {
		case outcome[i].Err != nil:
		case counts[ids[i]] > 1:
			outcome[i].Err = fmt.Errorf("topic %q stands more than once in the request: %w", *asked[i].Topic, kerr.InvalidRequest)
		default:
			outcome[i] = admin.DeleteTopic(ids[i], *asked[i].Topic)
			changes = append(changes, outcome[i])
		}
	}
	b.update(ctx, c.actor(), changes)
	for i, rt := range asked {
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		t.ErrorCode, t.ErrorMessage = c.code(outcome[i].Err), message(outcome[i].Err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// deletions are the topics that a request names, in the form of version 6.
func deletions(req *kmsg.DeleteTopicsRequest) []kmsg.DeleteTopicsRequestTopic {
	if req.Version >= 6 {
		return req.Topics
	}
	topics := make([]kmsg.DeleteTopicsRequestTopic, len(req.TopicNames))
	for i := range req.TopicNames {
		topics[i].Topic = &req.TopicNames[i]
	}
	return topics
}

// topicToDelete finds what an element of the request names.
func topicToDelete(img *metalog.Image, rt kmsg.DeleteTopicsRequestTopic) (*metalog.Topic, error) {
	byID := rt.TopicID != [16]byte{}
	if byID == (rt.Topic != nil) {
		return nil, fmt.Errorf("a topic to delete needs either a name or an id: %w", kerr.InvalidRequest)
	}
	if byID {
		if t, ok := img.TopicByID(rt.TopicID); ok {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := img.Topic(*rt.Topic); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}

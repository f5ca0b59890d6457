package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Transactions are of topics by their ids, and the requests between brokers have names. A name may
// have got another topic, which one of the two has not heard of yet: the partition that was written to
// would not be the one that the transaction ends on. So brokers tell the id, too.

// topicTag is the tag with a topic's id, above those that Kafka uses.
const topicTag = 10_000

func tagTopic(tags *kmsg.Tags, topic id.Topic) { tags.Set(topicTag, topic[:]) }

// knowsTagged reports whether the topic of that name is the one that the tags tell, if they do.
func knowsTagged(img *metalog.Image, name string, tags *kmsg.Tags) bool {
	knows := true
	tags.Each(func(key uint32, value []byte) {
		if key == topicTag {
			t, ok := img.Topic(name)
			knows = ok && string(t.ID[:]) == string(value)
		}
	})
	return knows
}

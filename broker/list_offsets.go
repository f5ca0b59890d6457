package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
)

// ListOffsets (key 2), versions 1 to 11. Deviation: a partition that is named more than once, which is an
// INVALID_REQUEST, is answered as often.

// The timestamps with a meaning of their own.
const (
	timeLatest        = -1 // high watermark, or last stable offset
	timeEarliest      = -2 // log start
	timeMax           = -3 // record with the greatest timestamp (KIP-734, version 7)
	timeEarliestLocal = -4 // first offset of the hot tier (KIP-405, version 8)
	timeLatestTiered  = -5 // last sealed offset (KIP-1005, version 9)
	timeEarliestWait  = -6 // first offset not yet sealed (KIP-1023, version 11)
)

func handleListOffsets(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ListOffsetsRequest](c)
	resp := responseTo[*kmsg.ListOffsetsResponse](req)
	named := timesNamed(req)
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			op := kmsg.NewListOffsetsResponseTopicPartition()
			op.Partition = p.Partition
			op.LeaderEpoch = -1
			found, err := notFound, error(nil)
			if named[topicIndex{t.Topic, p.Partition}] > 1 {
				err = fmt.Errorf("list offsets: partition %d of %q is named more than once: %w", p.Partition, t.Topic, kerr.InvalidRequest)
			} else {
				found, err = listOffset(ctx, b, req, t.Topic, p)
			}
			op.ErrorCode = c.code(err)
			if err == nil {
				op.Offset, op.Timestamp, op.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
			}
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// timesNamed counts how often a request names each partition.
func timesNamed(req *kmsg.ListOffsetsRequest) map[topicIndex]int {
	named := map[topicIndex]int{}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			named[topicIndex{req.Topics[i].Topic, req.Topics[i].Partitions[j].Partition}]++
		}
	}
	return named
}

// notFound is the answer when no record has the wanted time.
var notFound = partition.Found{Offset: -1, Timestamp: -1, Epoch: -1}

func listOffset(ctx context.Context, b *Broker, req *kmsg.ListOffsetsRequest, topic string, p *kmsg.ListOffsetsRequestTopicPartition) (partition.Found, error) {
	log, err := b.storage.logByName(topic, p.Partition)
	if err != nil {
		return notFound, err
	}
	if err := log.CheckEpoch(id.Epoch(p.CurrentLeaderEpoch)); err != nil {
		return notFound, err
	}
	w := log.Watermarks()
	end := w.High
	if req.IsolationLevel == 1 {
		end = w.Stable
	}
	at := func(o id.Offset) (partition.Found, error) {
		return partition.Found{Offset: o, Timestamp: -1, Epoch: w.Epoch}, nil
	}
	var found partition.Found
	var ok bool
	switch {
	case p.Timestamp == timeLatest:
		return at(end)
	case p.Timestamp == timeEarliest:
		return at(w.Start)
	case p.Timestamp == timeMax && req.Version >= 7:
		found, ok, err = log.FindMaxTime(ctx, end)
	case p.Timestamp == timeEarliestLocal && req.Version >= 8:
		return at(min(log.HotStart(), end))
	case p.Timestamp == timeLatestTiered && req.Version >= 9, p.Timestamp == timeEarliestWait && req.Version >= 11:
		sealed, err := log.SealedEnd(ctx)
		if err != nil {
			return notFound, err
		}
		if p.Timestamp == timeEarliestWait {
			return at(sealed)
		}
		if sealed <= w.Start {
			return notFound, nil
		}
		return at(sealed - 1)
	case p.Timestamp < 0:
		return notFound, fmt.Errorf("list offsets: timestamp %d has no meaning in version %d: %w", p.Timestamp, req.Version, kerr.UnsupportedVersion)
	default:
		found, ok, err = log.FindTime(ctx, p.Timestamp, end)
	}
	if err != nil || !ok {
		return notFound, err
	}
	return found, nil
}

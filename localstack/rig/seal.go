package rig

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// latestTiered asks ListOffsets for the last offset that is in packs (KIP-1005).
const latestTiered = -5

// Seal has the brokers seal what topics hold now, and waits until it is in packs, as an operator does with
// nothing but Kafka's API.
func Seal(ctx context.Context, admin *kadm.Client, topics ...string) error {
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("seal %v: %w", topics, err)
	}
	now := strconv.FormatInt(time.Now().UnixMilli()+1, 10)
	_, err = admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "forebay.seal.before.ms", Value: &now}})
	if err != nil {
		return fmt.Errorf("seal %v: %w", topics, err)
	}
	return Await(ctx, func(ctx context.Context) error {
		sealed, err := admin.ListOffsetsAfterMilli(ctx, latestTiered, topics...)
		if err != nil {
			return err
		}
		ends.Each(func(end kadm.ListedOffset) {
			at, ok := sealed.Lookup(end.Topic, end.Partition)
			if err == nil && (!ok || at.Err != nil || at.Offset+1 < end.Offset) {
				err = errors.Join(fmt.Errorf("%s-%d is sealed to %d of %d", end.Topic, end.Partition, at.Offset+1, end.Offset), at.Err)
			}
		})
		return err
	})
}

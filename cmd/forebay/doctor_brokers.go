package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// checkBrokers asks the brokers that were named who else there is, and tries the addresses that they give.
func (d *diagnosis) checkBrokers(ctx context.Context) {
	var meta kadm.Metadata
	var level *metadataLevel
	if !d.check(ctx, "brokers", func(ctx context.Context) (string, error) {
		client, err := d.flags.client.connect(ctx)
		if err != nil {
			return "", mendable("start one with 'forebay broker' or 'forebay dev', or name another with --brokers", "%w", err)
		}
		defer client.Close()
		adm := kadm.NewClient(client)
		if meta, err = adm.Metadata(ctx); err != nil {
			return "", err
		}
		if level, err = levelOf(ctx, adm); err != nil {
			return "", err
		}
		return fmt.Sprintf("cluster %s has %d brokers and %d topics", meta.Cluster, len(meta.Brokers), len(meta.Topics)), nil
	}) {
		return
	}
	slices.SortFunc(meta.Brokers, func(a, b kadm.BrokerDetail) int { return int(a.NodeID - b.NodeID) })
	for _, b := range meta.Brokers {
		d.checkAddress(ctx, b.NodeID, "", net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	}
	d.check(ctx, "leaders", func(context.Context) (string, error) {
		all, without := 0, 0
		for _, t := range meta.Topics {
			for _, p := range t.Partitions {
				all++
				if p.Leader < 0 || p.Err != nil {
					without++
				}
			}
		}
		return leaders(all, without)
	})
	if level != nil {
		d.check(ctx, "metadata level", func(context.Context) (string, error) { return level.checked() })
	}
}

// checkAdvertised looks at the brokers that the metadata has.
func (d *diagnosis) checkAdvertised(ctx context.Context) {
	image := d.cluster.image
	for _, b := range image.Brokers() {
		alive := slices.ContainsFunc(d.cluster.sessions, func(s session.Seen) bool { return s.Session == b.Incarnation })
		if b.Fenced || !alive {
			d.check(ctx, fmt.Sprintf("broker %d", b.ID), func(context.Context) (string, error) {
				return "", warn(fmt.Sprintf("start it again with --node-id %d, or forget it with 'kafka-cluster.sh unregister --id %d'", b.ID, b.ID), "not running")
			})
			continue
		}
		for _, e := range b.Endpoints {
			d.checkAddress(ctx, int32(b.ID), e.Listener, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		}
	}
	d.check(ctx, "leaders", func(context.Context) (string, error) {
		all, without := 0, 0
		for _, t := range image.Topics() {
			for _, p := range t.Partitions {
				all++
				if b, ok := image.Broker(p.Leader); p.Leader == metalog.NoBroker || !ok || b.Fenced {
					without++
				}
			}
		}
		return leaders(all, without)
	})
	d.check(ctx, "metadata level", func(context.Context) (string, error) { return d.cluster.storedLevel().checked() })
}

func leaders(all, without int) (string, error) {
	if without > 0 {
		return "", mendable("start a broker; if brokers run, look at their logs: one should take these over within seconds", "%d of %d partitions have no leader", without, all)
	}
	return fmt.Sprintf("each of %d partitions has one", all), nil
}

// checkAddress connects to an address that a broker gives to clients, and asks who is there.
func (d *diagnosis) checkAddress(ctx context.Context, node int32, listener, address string) {
	name := fmt.Sprintf("address of broker %d", node)
	if listener != "" {
		name += ", " + listener
	}
	d.check(ctx, name, func(ctx context.Context) (string, error) {
		const advertise = "correct --advertised-listeners of that broker, or DNS, routes and security groups: clients are told this address"
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID("forebay-doctor"), kgo.DialTimeout(d.flags.client.timeout), kgo.RequestRetries(0))
		if err != nil {
			return address, mendable(advertise, "%w", err)
		}
		defer client.Close()
		seed := client.SeedBrokers()[0]
		reply, err := seed.Request(ctx, kmsg.NewPtrDescribeClusterRequest())
		if err != nil {
			return address, mendable(advertise, "%w", err)
		}
		cluster, ok := reply.(*kmsg.DescribeClusterResponse)
		if !ok {
			return address, errors.New("no answer to DescribeCluster")
		}
		if d.cluster != nil && cluster.ClusterID != d.cluster.image.ClusterID() {
			return address, mendable(advertise, "a broker of another cluster answers, %s", cluster.ClusterID)
		}
		if led := d.led(node); led != nil {
			if err := leadsThere(ctx, seed, *led); err != nil {
				return address, mendable(advertise, "it is not broker %d: %w", node, err)
			}
		}
		host, _, _ := net.SplitHostPort(address)
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return address + ", of this machine only", nil
		}
		return address, nil
	})
}

// led is a partition that a broker leads, nil if none is known. Whoever says that it leads it is that broker.
func (d *diagnosis) led(node int32) *kadm.Partition {
	if d.cluster == nil {
		return nil
	}
	for _, t := range d.cluster.image.Topics() {
		for i, p := range t.Partitions {
			if int32(p.Leader) == node && !strings.HasPrefix(t.Name, "__") {
				return &kadm.Partition{Topic: t.Name, Partition: int32(i)}
			}
		}
	}
	return nil
}

// leadsThere asks a broker for an offset, which only the leader of the partition tells.
func leadsThere(ctx context.Context, b *kgo.Broker, p kadm.Partition) error {
	req := kmsg.NewPtrListOffsetsRequest()
	t, asked := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, asked.Partition, asked.Timestamp = p.Topic, p.Partition, -1
	t.Partitions = append(t.Partitions, asked)
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	reply, err := b.Request(ctx, req)
	if err != nil {
		return err
	}
	if listed, ok := reply.(*kmsg.ListOffsetsResponse); ok && len(listed.Topics) == 1 && len(listed.Topics[0].Partitions) == 1 {
		return kerr.ErrorForCode(listed.Topics[0].Partitions[0].ErrorCode)
	}
	return errors.New("no answer to ListOffsets")
}

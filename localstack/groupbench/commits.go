package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
	"github.com/forebaylog/forebay/localstack/rig"
)

// commitConns is over how many connections the commits of the part commits are spread, so
// that several wait for one write of an item.
const commitConns = 200

// writes counts the requests that write to the table, whatever they write.
func writes(b *bench) int64 {
	if b.table == nil {
		return 0
	}
	return b.table.Counts()[countedPut]
}

// countedPut is the name of the rule that counts writes of items of the offsets.
const countedPut = "items of offsets written"

// countPuts has the proxy before the table count the items that are written for offsets.
func countPuts(p *faultproxy.Proxy) {
	p.Add(faultproxy.Rule{
		Name: countedPut, Action: faultproxy.Delay(0, 0), Match: faultproxy.Match{Operation: "PutItem", Body: "commits-"},
	})
}

// commits commits offsets at a fixed rate, many of the same partitions at once, and compares
// how many were committed with how many items were written to the table.
func commits(ctx context.Context, b *bench, node *rig.Node) error {
	const topic = "commits-topic"
	if err := createTopic(ctx, node.Addr, topic, b.commitPartitions); err != nil {
		return err
	}
	conns, err := dialAll(ctx, node.Addr, commitConns)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	all := make([]int32, b.commitPartitions)
	for i := range all {
		all[i] = int32(i)
	}
	group := func(i int) *member {
		return &member{group: fmt.Sprintf("commits-%d", i%b.commitGroups), topic: topic, generation: -1}
	}
	for g := range b.commitGroups { // the first of each group is not measured
		if err := group(g).commit(conns[g%len(conns)], 0, all...); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var times []time.Duration
	before, err := rig.ReadUsage(node.PID())
	if err != nil {
		return err
	}
	written, began := writes(b), time.Now()
	end := began.Add(time.Duration(b.seconds) * time.Second)
	step := time.Duration(float64(len(conns)*b.commitPartitions) / float64(b.commitRate) * float64(time.Second))
	err = parallel(len(conns), func(i int) error {
		m, next := group(i), began.Add(step*time.Duration(i)/time.Duration(len(conns)))
		var own []time.Duration
		for time.Now().Before(end) && ctx.Err() == nil {
			time.Sleep(time.Until(next))
			next = next.Add(step)
			at := time.Now()
			if err := m.commit(conns[i], at.Sub(began).Microseconds(), all...); err != nil {
				return err
			}
			own = append(own, time.Since(at))
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, own...)
		return nil
	})
	took, items := time.Since(began), writes(b)-written
	after, uerr := rig.ReadUsage(node.PID())
	if err := errors.Join(err, uerr); err != nil {
		return err
	}
	offsets := float64(len(times) * b.commitPartitions)
	b.note("offsets committed a second", offsets/took.Seconds())
	b.noteTimes("commit", times)
	b.note("broker CPU, cores", (after.CPU-before.CPU).Seconds()/took.Seconds())
	if b.table != nil {
		b.note("items written a second", float64(items)/took.Seconds())
		b.note("offsets committed per item written", offsets/float64(max(1, items)))
	}
	return nil
}

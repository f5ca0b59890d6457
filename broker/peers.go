package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// peerClientID is the client id of what brokers ask each other.
const peerClientID = "forebay-broker"

const (
	peerDialTimeout  = 3 * time.Second
	peerMaxResponse  = 64 << 20 // bytes
	peerIdle         = 16       // connections to a peer that are kept
	peerRequestLimit = 64       // requests to a peer at a time
)

// peers sends Kafka requests to the other brokers of the cluster, at what they advertise on the
// first listener of this one. A connection has one request at a time, so that none waits for another's
// answer. It is a part of the broker and safe for concurrent use.
type peers struct {
	listener string
	image    func() *metalog.Image
	unsub    func()

	// Gathered requests, one at a time for each peer.
	markers *joiner[kmsg.WriteTxnMarkersRequestMarker, kmsg.WriteTxnMarkersResponseMarker]
	adds    *joiner[kmsg.AddPartitionsToTxnRequestTransaction, kmsg.AddPartitionsToTxnResponseTransaction]

	work stdsync.WaitGroup // requests of clients that are handed on

	mu     stdsync.Mutex
	closed bool
	byID   map[id.Broker]*peerConns
}

// peerConns is the connections to one broker at an address.
type peerConns struct {
	node  id.Broker
	addr  string
	slots chan struct{} // one for each request at a time

	mu     stdsync.Mutex
	closed bool
	idle   []net.Conn
}

func openPeers(_ context.Context, b *Broker) (part, error) {
	p := &peers{listener: b.listeners[0].Name, image: b.meta.Image, byID: map[id.Broker]*peerConns{}}
	p.markers, p.adds = newJoiner(p.sendMarkers), newJoiner(p.sendAdds)
	p.unsub = b.meta.Subscribe(func(_, img *metalog.Image) { p.follow(img) })
	b.peers = p
	return p, nil
}

// request sends a request to a broker and returns its answer. It fails with NETWORK_EXCEPTION
// when there is no answer, and names the peer.
func (p *peers) request(ctx context.Context, node id.Broker, req kmsg.Request) (kmsg.Response, error) {
	to, err := p.peer(node)
	if err == nil {
		var resp kmsg.Response
		if resp, err = to.request(ctx, req); err == nil {
			return resp, nil
		}
		err = fmt.Errorf("at %s: %w", to.addr, err)
	}
	return nil, fmt.Errorf("ask broker %d, %s: %w: %w", node, kmsg.NameForKey(req.Key()), kerr.NetworkException, err)
}

// peer returns the connections to a broker where it is now.
func (p *peers) peer(node id.Broker) (*peerConns, error) {
	addr, ok := p.addr(p.image(), node)
	if !ok {
		return nil, errors.New("it is not there")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errShutdown
	}
	to := p.byID[node]
	if to == nil || to.addr != addr {
		if to != nil {
			to.close()
		}
		to = &peerConns{node: node, addr: addr, slots: make(chan struct{}, peerRequestLimit)}
		p.byID[node] = to
	}
	return to, nil
}

func (p *peers) addr(img *metalog.Image, node id.Broker) (string, bool) {
	b, live := liveBroker(img, node)
	if !live {
		return "", false
	}
	at, ok := endpointOf(b, p.listener)
	return net.JoinHostPort(at.host, strconv.Itoa(int(at.port))), ok
}

// follow closes the connections to brokers that have gone or moved.
func (p *peers) follow(img *metalog.Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, to := range p.byID {
		if addr, ok := p.addr(img, node); !ok || addr != to.addr {
			to.close()
			delete(p.byID, node)
		}
	}
}

// drain does nothing: whoever asks a peer has a part of its own that ends it.
func (p *peers) drain() {}

func (p *peers) close(context.Context) error {
	p.unsub()
	p.mu.Lock()
	p.closed = true
	for _, to := range p.byID {
		to.close()
	}
	p.mu.Unlock()
	p.markers.close()
	p.adds.close()
	p.work.Wait() // they end with their connections
	return nil
}

func (p *peerConns) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, nc := range p.idle {
		_ = nc.Close()
	}
	p.idle = nil
}

// request sends one request. On a connection that was kept it is sent once more if that turns
// out to have been closed meanwhile: the requests of brokers may arrive twice.
func (p *peerConns) request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if nc := p.kept(); nc != nil {
		if resp, err := p.exchange(ctx, nc, req); err == nil || ctx.Err() != nil {
			return resp, err
		}
	}
	d := net.Dialer{Timeout: peerDialTimeout}
	nc, err := d.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return p.exchange(ctx, nc, req)
}

// kept returns a connection that is free, nil if there is none.
func (p *peerConns) kept() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	nc := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return nc
}

// exchange sends a request and reads its answer. It keeps the connection, or closes it after an error.
func (p *peerConns) exchange(ctx context.Context, nc net.Conn, req kmsg.Request) (kmsg.Response, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	resp, err := roundTrip(nc, req)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= peerIdle {
		_ = nc.Close()
	} else {
		p.idle = append(p.idle, nc)
	}
	return resp, nil
}

func roundTrip(nc net.Conn, req kmsg.Request) (kmsg.Response, error) {
	const correlation = 1 // there is one request at a time
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(peerClientID)).AppendRequest(nil, req, correlation)
	if _, err := nc.Write(frame); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if got := binary.BigEndian.Uint32(head[4:]); got != correlation || size < 4 || size > peerMaxResponse {
		return nil, fmt.Errorf("answer of %d bytes to request %d", size, got)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(nc, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if resp.IsFlexible() { // tags of the header: none are known
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("answer with unknown tags in its header")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return resp, nil
}

// sendMarkers ends transactions on partitions that a peer leads.
func (p *peers) sendMarkers(ctx context.Context, node id.Broker, markers []kmsg.WriteTxnMarkersRequestMarker) ([]kmsg.WriteTxnMarkersResponseMarker, error) {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Version, req.Markers = 2, markers
	answered, err := p.request(ctx, node, req)
	if err != nil {
		return nil, err
	}
	resp := answered.(*kmsg.WriteTxnMarkersResponse) //nolint:errcheck // it was made by its key
	answers := make([]kmsg.WriteTxnMarkersResponseMarker, len(markers))
	for i := range markers { // each producer once, in the order of the request or not
		for _, m := range resp.Markers {
			if m.ProducerID == markers[i].ProducerID {
				answers[i] = m
			}
		}
	}
	return answers, nil
}

// sendAdds asks the coordinator of transactions to add or to verify partitions.
func (p *peers) sendAdds(ctx context.Context, node id.Broker, txns []kmsg.AddPartitionsToTxnRequestTransaction) ([]kmsg.AddPartitionsToTxnResponseTransaction, error) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.Transactions = 5, txns
	answered, err := p.request(ctx, node, req)
	if err != nil {
		return nil, err
	}
	resp := answered.(*kmsg.AddPartitionsToTxnResponse) //nolint:errcheck // it was made by its key
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("ask broker %d, AddPartitionsToTxn: %w", node, err)
	}
	if len(resp.Transactions) != len(txns) {
		return nil, fmt.Errorf("ask broker %d, AddPartitionsToTxn: %w: %d answers for %d transactions", node, kerr.NetworkException, len(resp.Transactions), len(txns))
	}
	return resp.Transactions, nil
}

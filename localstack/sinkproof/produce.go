package sinkproof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// httpBatch is how many events a request has.
const httpBatch = 100

// produce writes the records. Those of a key have rising numbers.
func (p *proof) produce(ctx context.Context) error {
	pad := strings.Repeat("x", max(p.Bytes-len(`{"n":1000000,"pad":""}`), 0))
	if p.HTTP > 0 {
		return p.post(ctx, pad)
	}
	var failed error
	for n := range p.Records {
		text, err := json.Marshal(value{n, pad})
		if err != nil {
			return fmt.Errorf("encode record %d: %w", n, err)
		}
		p.client.Produce(ctx, &kgo.Record{Topic: topic, Key: []byte(p.key(n)), Value: text}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err // calls are one after the other
			}
		})
	}
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("write records: %w", failed)
	}
	return nil
}

func (p *proof) key(n int) string { return "key-" + strconv.Itoa(n%p.Keys) }

// post writes the records as CloudEvents. Each sender has keys of its own.
func (p *proof) post(ctx context.Context, pad string) error {
	senders, ctx := errgroup.WithContext(ctx)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: p.HTTP}}
	defer client.CloseIdleConnections()
	for sender := range p.HTTP {
		senders.Go(func() error {
			var batch []map[string]any
			for n := range p.Records {
				if n%p.Keys%p.HTTP == sender {
					batch = append(batch, map[string]any{
						"specversion": "1.0", "id": strconv.Itoa(n), "source": "/sinkproof", "type": "numbered", "partitionkey": p.key(n), "data": value{n, pad},
					})
				}
				if len(batch) == httpBatch || n == p.Records-1 && len(batch) > 0 {
					if err := p.send(ctx, client, batch); err != nil {
						return err
					}
					batch = batch[:0]
				}
			}
			return nil
		})
	}
	return senders.Wait()
}

func (p *proof) send(ctx context.Context, client *http.Client, batch []map[string]any) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("encode a batch: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.events+"/topics/"+topic+"/events", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send a batch: %w", err)
	}
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send a batch: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("send a batch: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("send a batch: %s: %.500s", resp.Status, answer)
	}
	return nil
}

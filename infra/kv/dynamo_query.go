package kv

import (
	"context"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Query implements Store. DynamoDB compares strings by their UTF-8 bytes, so From and To
// must be UTF-8 of at most 1 KiB here; ErrInvalidKey otherwise.
func (d *dynamo) Query(ctx context.Context, part string, r Range) ([]Item, error) {
	if err := checkQuery(ctx, part); err != nil {
		return nil, err
	}
	for _, bound := range []string{r.From, r.To} {
		if !utf8.ValidString(bound) || len(bound) > maxKey {
			return nil, fmt.Errorf("query %q: %w: bound %q: want UTF-8 of at most %d bytes", part, ErrInvalidKey, bound, maxKey)
		}
	}
	if err := d.enter(); err != nil {
		return nil, fmt.Errorf("query %q: %w", part, err)
	}
	defer d.leave()
	if r.To != "" && r.From >= r.To {
		return nil, nil // which DynamoDB takes for a mistake
	}
	items, err := d.query(ctx, part, r)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", part, err)
	}
	return items, nil
}

// query reads page by page until it has r.Limit items or there are no more.
func (d *dynamo) query(ctx context.Context, part string, r Range) ([]Item, error) {
	in := d.queryInput(part, r)
	var items []Item
	for {
		if r.Limit > 0 {
			in.Limit = aws.Int32(int32(min(r.Limit-len(items)+surplus(r), math.MaxInt32)))
		}
		out, err := d.page(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, attrs := range out.Items {
			item, err := itemOf(attrs)
			if err != nil {
				return nil, err
			}
			if r.To != "" && item.Key.Sort == r.To {
				continue // BETWEEN includes it
			}
			if items = append(items, item); len(items) == r.Limit {
				return items, nil
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return items, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// surplus is how many items of a page may be no part of the range.
func surplus(r Range) int {
	if r.Reverse && r.From != "" && r.To != "" {
		return 1
	}
	return 0
}

// queryInput asks for the range, and when it has both bounds also for the item at its
// end: a condition on the sort key has one comparison, and BETWEEN includes both.
func (d *dynamo) queryInput(part string, r Range) *dynamodb.QueryInput {
	condition := "#p = :p"
	names := map[string]string{"#p": attrPart}
	values := map[string]types.AttributeValue{":p": stringAttr(part)}
	if r.From != "" {
		values[":from"] = stringAttr(r.From)
	}
	if r.To != "" {
		values[":to"] = stringAttr(r.To)
	}
	switch {
	case r.From != "" && r.To != "":
		condition += " AND #s BETWEEN :from AND :to"
	case r.From != "":
		condition += " AND #s >= :from"
	case r.To != "":
		condition += " AND #s < :to"
	}
	if len(values) > 1 {
		names["#s"] = attrSort
	}
	return &dynamodb.QueryInput{
		TableName: &d.cfg.Table, KeyConditionExpression: &condition,
		ExpressionAttributeNames: names, ExpressionAttributeValues: values,
		ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!r.Reverse),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}
}

func (d *dynamo) page(ctx context.Context, in *dynamodb.QueryInput) (out *dynamodb.QueryOutput, err error) {
	err = d.read(ctx, opQuery, func(ctx context.Context) (_ *types.ConsumedCapacity, err error) {
		if out, err = d.client.Query(ctx, in); err != nil {
			return nil, err
		}
		return out.ConsumedCapacity, nil
	})
	return out, err
}

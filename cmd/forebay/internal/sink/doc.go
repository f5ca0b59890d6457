// Package sink takes records of a topic to a receiver outside: a webhook or an AWS Lambda
// function. Sink is a member of a consumer group and its loop is the only owner of what is
// waiting; queue decides what goes out next, progress what may be committed, and a Target
// delivers.
//
// Delivery is at least once. An offset is committed when every record before it was delivered
// or dead-lettered. Records of a partition with the same key are delivered in their order: none
// is sent before the one before it was delivered or dead-lettered, or together with it, in
// order. Different keys, and records without a key, go in parallel and wait for nobody.
package sink

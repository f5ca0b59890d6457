// Package rights says what each process of a cluster may do in AWS: one IAM policy for each job, with the
// least rights that do. `forebay iam policy` prints them, Terraform attaches them, and the
// end-to-end tests run brokers and functions behind proxies that refuse whatever the policy of their job does not
// allow, and require that all of it is made use of.
package rights

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Job is what a process does; each has a role of its own.
type Job string

// The jobs. Only the collector may remove packs, and what the audit is kept in.
const (
	Broker     Job = "broker"     // a broker with --maintenance none and no collector
	Node       Job = "node"       // a broker that does all of it itself
	Retention  Job = "retention"  // functions/retention
	Compaction Job = "compaction" // functions/compaction
	Collector  Job = "collector"  // functions/collector
	Sweep      Job = "sweep"      // functions/sweep
	API        Job = "api"        // functions/api
)

// Jobs are all of them.
var Jobs = []Job{Broker, Node, Retention, Compaction, Collector, Sweep, API}

// Place is where a cluster keeps its log and its metadata.
type Place struct {
	Partition string // of AWS: aws, aws-cn or aws-us-gov; aws if empty
	Region    string // of the tables; * if empty
	Account   string // of the tables; * if empty
	Bucket    string
	Prefix    string // of all keys in the bucket, without slashes around it; may be empty
	WALBucket string // Bucket if empty
	WALPrefix string // of all keys in WALBucket
	Tables    string // prefix of the names of the tables, as in dynamodb://prefix
	Key       string // ARN of the KMS key that encrypts buckets and tables; empty: none of the cluster's own
}

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// Groups of actions that go together.
var (
	read  = []string{"s3:GetObject"}
	write = []string{"s3:AbortMultipartUpload", "s3:PutObject"} // PutObject includes the parts of an upload
	// DescribeTable is asked for at the start: the table must have the keys that are expected.
	items = []string{"dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"}
)

// Policy returns the rights of a job. It fails for a job that there is none of.
func Policy(job Job, at Place) (Document, error) {
	if at.WALBucket == "" {
		at.WALBucket, at.WALPrefix = at.Bucket, at.Prefix
	}
	own, old := []string{"metalog/*"}, []string{"metalog/0*"} // snapshots, and those that others have replaced; the archive stays
	if job == Broker || job == Node {
		own, old = append(own, "probe/*"), append(old, "probe/*") // what a broker tries its stores with when it starts
	}
	d := Document{Version: "2012-10-17"}
	tables := []string{"control"}
	switch job {
	case Broker:
		tables = append(tables, "offsets")
		d.allow("WritePacks", write, at.objects("packs/*", "cluster-id"))
		d.allow("WriteAndReleaseWAL", append([]string{"s3:DeleteObject"}, write...), at.brokersWAL())
	case Node:
		tables = append(tables, "offsets")
		d.allow("WritePacks", append([]string{"s3:DeleteObject"}, write...), at.objects("packs/*", "collector/*", "metalog/archive/*", "cluster-id"))
		d.allow("WriteAndReleaseWAL", append([]string{"s3:DeleteObject"}, write...), at.brokersWAL())
		d.allow("FindUploads", []string{"s3:ListBucketMultipartUploads"}, at.buckets())
	case Retention:
	case Sweep:
		d.allow("ReleaseWAL", []string{"s3:DeleteObject"}, at.wal())
	case API:
		tables = append(tables, "offsets")
	case Compaction:
		d.allow("WritePacks", write, at.objects("packs/*"))
	case Collector:
		d.allow("Collect", []string{"s3:AbortMultipartUpload", "s3:DeleteObject"}, at.objects("packs/*", "metalog/archive/*"))
		d.allow("Marks", append([]string{"s3:DeleteObject"}, write...), at.objects("collector/*"))
		d.allow("CollectWAL", []string{"s3:AbortMultipartUpload", "s3:DeleteObject"}, at.wal())
		d.allow("FindUploads", []string{"s3:ListBucketMultipartUploads"}, at.buckets())
	default:
		return Document{}, fmt.Errorf("no job %q: use one of %v", job, Jobs)
	}
	d.allow("Read", read, at.everything())
	d.allow("Snapshots", write, at.objects(own...))
	d.allow("OldSnapshots", []string{"s3:DeleteObject"}, at.objects(old...))
	d.list(at)
	if strings.HasSuffix(at.WALBucket, "--x-s3") { // a directory bucket of S3 Express One Zone: one right for all
		d.allow("WALSession", []string{"s3express:CreateSession"}, []string{at.directoryBucket()})
	}
	d.allow("Tables", items, at.tables(tables...))
	if at.Key != "" {
		d.allow("Encryption", []string{"kms:Decrypt", "kms:GenerateDataKey"}, []string{at.Key})
	}
	return d, nil
}

func (d *Document) allow(sid string, actions, resources []string) {
	slices.Sort(actions)
	d.Statement = append(d.Statement, Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources})
}

// list allows to list what is below the prefixes. IfExists: S3 asks for this right also before it tells that an
// object is not there, and there is no prefix then; without it a missing object would look forbidden.
func (d *Document) list(at Place) {
	d.allow("List", []string{"s3:ListBucket"}, at.buckets())
	prefixes := []string{at.key(at.Prefix, "*")}
	if other := at.key(at.WALPrefix, "*"); other != prefixes[0] {
		prefixes = append(prefixes, other)
	}
	d.Statement[len(d.Statement)-1].Condition = map[string]map[string][]string{"StringLikeIfExists": {"s3:prefix": prefixes}}
}

func (Place) key(prefix, key string) string {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		return prefix + "/" + key
	}
	return key
}

func (p Place) arn(bucket string) string {
	return "arn:" + p.partition() + ":s3:::" + bucket
}

func (p Place) partition() string { return cmp.Or(p.Partition, "aws") }

func (p Place) objects(keys ...string) []string {
	var arns []string
	for _, k := range keys {
		arns = append(arns, p.arn(p.Bucket)+"/"+p.key(p.Prefix, k))
	}
	return arns
}

func (p Place) wal() []string {
	return []string{p.arn(p.WALBucket) + "/" + p.key(p.WALPrefix, "wal/*")}
}

// brokersWAL is what a broker writes there: in a store of its own also what it tries the store with.
func (p Place) brokersWAL() []string {
	if len(p.everything()) == 1 {
		return p.wal()
	}
	return append(p.wal(), p.arn(p.WALBucket)+"/"+p.key(p.WALPrefix, "probe/*"))
}

// everything is all objects of the cluster.
func (p Place) everything() []string {
	arns := p.objects("*")
	if other := p.arn(p.WALBucket) + "/" + p.key(p.WALPrefix, "*"); other != arns[0] {
		arns = append(arns, other)
	}
	return arns
}

func (p Place) buckets() []string {
	arns := []string{p.arn(p.Bucket)}
	if p.WALBucket != p.Bucket {
		arns = append(arns, p.arn(p.WALBucket))
	}
	return arns
}

func (p Place) tables(names ...string) []string {
	var arns []string
	for _, n := range names {
		arns = append(arns, p.Table(p.Tables+"-"+n))
	}
	return arns
}

// Table is the ARN of a table of this region and account.
func (p Place) Table(name string) string { return p.regional("dynamodb", "table/"+name) }

// Object is the ARN of an object in full, or of a bucket if key is empty.
func (p Place) Object(bucket, key string) string {
	if key == "" {
		return p.arn(bucket)
	}
	return p.arn(bucket) + "/" + key
}

func (p Place) directoryBucket() string { return p.regional("s3express", "bucket/"+p.WALBucket) }

// regional is the ARN of a resource of the region and account.
func (p Place) regional(service, resource string) string {
	return strings.Join([]string{"arn", p.partition(), service, cmp.Or(p.Region, "*"), cmp.Or(p.Account, "*"), resource}, ":")
}

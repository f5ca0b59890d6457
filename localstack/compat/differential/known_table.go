package differential

// Reasons that several differences have.
const (
	uncaught      = "an exception that Apache Kafka does not expect; Forebay names the mistake or tolerates it"
	strict        = "Forebay refuses a batch that Apache Kafka stores as it is or rewrites"
	undecoded     = "Forebay does not decompress what producers send unless the topic needs it"
	once          = "named twice in a request: Apache Kafka answers one of the two, Forebay both"
	replicaIDs    = "Forebay's brokers do not fetch from each other, so that the field means nothing"
	noEpoch       = "the end of the epoch -2, which is none"
	unserved      = "not served by Forebay"
	tiered        = "Forebay tiers every topic; Apache Kafka runs without tiered storage, and then refuses to be asked for it"
	policyTwice   = "a policy that is named twice, which Apache Kafka takes for one"
	belowNone     = "a limit below -1, which Apache Kafka takes for none"
	sources       = "the broker is started with other files, and Forebay names the synonym that counts by default"
	brokerByID    = "the request went to the wrong broker; Forebay says that there is none of that id"
	abortedBehind = "Apache Kafka tells of aborted transactions behind what it returns, and of no newest record if that is not stable"
	refusedWhole  = "Forebay's refusal has no results, only the error"
)

// knownDifferences are the differences that Forebay rightly has.
var knownDifferences = []knownDifference{
	{"produce/malformed batches: null records", "Apache Kafka closes the connection or never answers"},
	{"produce/malformed batches: a byte too many", strict},
	{"produce/malformed batches: length 2147483647", uncaught},
	{"produce/malformed records: garbage", uncaught},
	{"produce/malformed records: second offset 0", strict},
	{"produce/malformed records: offsets with a gap", strict},
	{"produce/malformed records: first offset 1", strict},
	{"produce/malformed records: negative offset", strict},
	{"produce/batch header: log append time", strict},
	{"produce/batch header: codec 5", uncaught},
	{"produce/batch header: codec 7", uncaught},
	{"produce/batch header: * that is none", undecoded},
	{"produce/batch header: producer without epoch", strict},
	{"produce/batch header: producer -2", strict},
	{"produce/several batches: a batch and a half", strict},
	{"produce/log append time: with the bit", "the whole batch is refused; Apache Kafka blames its first record"},
	{"produce/codecs: *", undecoded},
	{"produce/several partitions: *", once},
	{"idempotence/empty log: *", "no log begins in the middle of a producer's sequence, as from Apache Kafka 4.5 on (KAFKA-15591)"},
	{"idempotence/epochs: Produce v12 (14) *", "a producer id without an epoch; Forebay refuses the batch before it looks for the producer"},
	{"fetch/versions: *", "below the oldest version that is served; an answer with the error is one that the client can read"},
	{"fetch/limits: *", "negative limits, which Apache Kafka does not expect"},
	{"fetch/sessions: *", "an empty session; Forebay keeps none"},
	{"fetch/sessions with changes: *", "the same partitions, in an answer that names the topic twice"},
	{"fetch/as a replica: *", replicaIDs},
	{"fetch/isolation: *", uncaught},
	{"offsets/for leader epoch: OffsetForLeaderEpoch v4 (3) *", noEpoch},
	{"offsets/for leader epoch: OffsetForLeaderEpoch v4 (9) *", noEpoch},
	{"offsets/unknown: ListOffsets v5 (5) *", uncaught},
	{"offsets/unknown: ListOffsets v7 (5) *", uncaught},
	{"offsets/unknown: ListOffsets v7 (10) *", once},
	{"offsets/special times: ListOffsets v11 *", "the earliest offset that is not tiered yet, which Apache Kafka tells of topics with remote storage only, and Forebay of all"},
	{"offsets/after delete: ListOffsets v9 (11) *", "the newest record's time when all are deleted; Apache Kafka tells that of a deleted one"},
	{"offsets/delete records: DeleteRecords v2 (18) *", once},
	{"groups/fetch: OffsetFetch v0*", "below the oldest version that is served; an answer with the error is one that the client can read"},
	{"topics/create: create twice *", once},
	{`topics/create with configs: create with cleanup.policy="delete,compact,delete" *`, policyTwice},
	{`topics/create with configs: create with retention.bytes="-5" *`, belowNone},
	{`topics/create with configs: create with remote.storage.enable="true" *`, tiered},
	{"topics/create with configs: create with a config twice *", "Forebay refuses a config that is set twice; for Apache Kafka the last one counts"},
	{"topics/delete: *", once},
	{"topics/partitions: CreatePartitions v3 (16) *", once},
	{"topics/metadata: *", "Forebay answers the part of the request that is sound"},
	{"topics/describe topic partitions: *", refusedWhole},
	{"configs/describe topic: *", sources},
	{"configs/describe broker: *", sources},
	{"configs/describe errors: *", brokerByID},
	{"configs/incremental: *", sources},
	{`configs/incremental values: set cleanup.policy to "delete,compact,delete"`, policyTwice},
	{`configs/incremental values: set retention.bytes to "-5"`, belowNone},
	{`configs/incremental values: set remote.storage.enable to "true"`, tiered},
	{"configs/alter: *", sources},
	{"configs/alter errors: *", brokerByID},
	{"admin/elect leaders: *", refusedWhole},
	{"admin/describe cluster: *", "a refused request; Forebay tells the cluster's id all the same"},
	{"admin/api versions: versions of key *", unserved},
	{"admin/quotas: AlterClientQuotas v1*", unserved},
	{"frames/headers: client id of -2", "Apache Kafka takes any negative length for null"},
	{"frames/counts: *", "Apache Kafka takes other negative counts for null"},
	{"transactions/batched add partitions: *", "Apache Kafka does not answer a request for no transaction"},
	{"transactions/isolation: *", abortedBehind},
	{"random/transactions seed 5: Fetch v12 (4) *", abortedBehind},
	{"transactions/describe: *", "the order of partitions"},
	{"transactions/markers: *", uncaught},
}

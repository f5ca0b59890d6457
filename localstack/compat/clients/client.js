// A producer, a member of a group or a transactional copier on one of Node.js's Kafka clients.
// The arguments are those of client.py.
'use strict';

const fs = require('fs');
const path = require('path');

const modules = path.join(process.env.CLIENT_MODULES, 'node_modules');
const confluent = process.argv[2] === 'kafka-javascript';
const [, , , mode, brokers, topic, third, to] = process.argv;

// open makes the client. Confluent's takes the options of KafkaJS in an object of their own.
function open() {
  const options = { clientId: 'compat', brokers: brokers.split(','), logLevel: 1 };
  if (confluent) {
    const { Kafka } = require(path.join(modules, '@confluentinc/kafka-javascript')).KafkaJS;
    return new Kafka({ kafkaJS: options });
  }
  const { Kafka } = require(path.join(modules, 'kafkajs'));
  return new Kafka(options);
}

const options = (o) => (confluent ? { kafkaJS: o } : o);

function tell({ partition, message }) {
  process.stdout.write(JSON.stringify({
    partition, offset: Number(message.offset), key: message.key.toString(), value: message.value.toString(),
  }) + '\n');
}

async function produce(kafka, file) {
  const producer = kafka.producer(options({ idempotent: true, maxInFlightRequests: 1 }));
  await producer.connect();
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n').map((l) => JSON.parse(l));
  for (let i = 0; i < lines.length; i += 100) {
    await producer.send({
      topic, messages: lines.slice(i, i + 100).map((e) => ({ key: e.key, value: e.value, timestamp: String(e.time) })),
    });
  }
  await producer.disconnect();
}

async function consume(kafka, group, run) {
  const from = { fromBeginning: true };
  // KafkaJS notices a rebalance only between fetches, whose wait is long by default.
  const quick = confluent ? from : { sessionTimeout: 10000, rebalanceTimeout: 10000, heartbeatInterval: 500, maxWaitTimeInMs: 500 };
  const consumer = kafka.consumer(options(Object.assign({ groupId: group, autoCommit: run.autoCommit }, quick)));
  await consumer.connect();
  await consumer.subscribe(Object.assign({ topics: [topic] }, confluent ? {} : from));
  await consumer.run(run.options(consumer));
  await new Promise((resolve) => process.on('SIGTERM', resolve));
  await consumer.disconnect();
}

async function member(kafka, group) {
  await consume(kafka, group, { autoCommit: true, options: () => ({ eachMessage: async (m) => tell(m) }) });
}

async function copy(kafka, group) {
  const producer = kafka.producer(options({ transactionalId: group + '-copier', idempotent: true, maxInFlightRequests: 1 }));
  await producer.connect();
  const eachBatch = (consumer) => async ({ batch, resolveOffset }) => {
    const transaction = await producer.transaction();
    await transaction.send({
      topic: to, messages: batch.messages.map(({ key, value, timestamp }) => ({ key, value, timestamp })),
    });
    const last = batch.messages[batch.messages.length - 1].offset;
    const topics = [{ topic, partitions: [{ partition: batch.partition, offset: String(Number(last) + 1) }] }];
    await transaction.sendOffsets(confluent ? { consumer, topics } : { consumerGroupId: group, topics });
    await transaction.commit();
    resolveOffset(last);
  };
  await consume(kafka, group, {
    autoCommit: false,
    options: (consumer) => Object.assign({ eachBatch: eachBatch(consumer), eachBatchAutoResolve: false }, confluent ? {} : { autoCommit: false }),
  });
  await producer.disconnect();
}

({ produce, member, copy })[mode](open(), third).then(() => process.exit(0), (err) => {
  console.error(err);
  process.exit(1);
});

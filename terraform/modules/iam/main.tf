# The IAM policy of each job, with the least rights that do: those that package infra/rights makes and that
# `forebay iam policy` prints. A test compares all of them. There are no resources here: the modules that run a job
# attach its policy.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  partition = data.aws_partition.current.partition
  regional  = "${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}"

  # Where keys are: in the bucket below the prefix; those of WAL objects may be in a bucket of their own.
  own_wal    = var.wal_bucket != null
  wal_name   = local.own_wal ? var.wal_bucket : var.bucket
  bucket     = "arn:${local.partition}:s3:::${var.bucket}"
  wal_bucket = "arn:${local.partition}:s3:::${local.wal_name}"
  prefix     = trim(var.prefix, "/") == "" ? "" : "${trim(var.prefix, "/")}/"
  own_prefix = trim(var.wal_prefix, "/") == "" ? "" : "${trim(var.wal_prefix, "/")}/"
  wal_prefix = local.own_wal ? local.own_prefix : local.prefix

  buckets    = distinct([local.bucket, local.wal_bucket])
  prefixes   = distinct(["${local.prefix}*", "${local.wal_prefix}*"])
  everything = distinct(["${local.bucket}/${local.prefix}*", "${local.wal_bucket}/${local.wal_prefix}*"])
  wal        = ["${local.wal_bucket}/${local.wal_prefix}wal/*"]
  # In a store of its own brokers also write what they try it with when they start.
  brokers_wal = length(local.everything) == 1 ? local.wal : concat(local.wal, ["${local.wal_bucket}/${local.wal_prefix}probe/*"])
  express     = endswith(local.wal_name, "--x-s3")

  write  = ["s3:AbortMultipartUpload", "s3:PutObject"]
  remove = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"]
  items  = ["dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]

  find_uploads = { Sid = "FindUploads", Action = ["s3:ListBucketMultipartUploads"], Resource = local.buckets }

  # What tells the jobs apart. Only the collector, and a node that collects itself, may remove packs.
  special = {
    broker = [
      { Sid = "WritePacks", Action = local.write, Resource = [for k in ["packs/*", "cluster-id"] : "${local.bucket}/${local.prefix}${k}"] },
      { Sid = "WriteAndReleaseWAL", Action = local.remove, Resource = local.brokers_wal },
    ]
    node = [
      { Sid = "WritePacks", Action = local.remove, Resource = [for k in ["packs/*", "collector/*", "metalog/archive/*", "cluster-id"] : "${local.bucket}/${local.prefix}${k}"] },
      { Sid = "WriteAndReleaseWAL", Action = local.remove, Resource = local.brokers_wal },
      local.find_uploads,
    ]
    retention  = []
    compaction = [{ Sid = "WritePacks", Action = local.write, Resource = ["${local.bucket}/${local.prefix}packs/*"] }]
    collector = [
      { Sid = "Collect", Action = ["s3:AbortMultipartUpload", "s3:DeleteObject"], Resource = [for k in ["packs/*", "metalog/archive/*"] : "${local.bucket}/${local.prefix}${k}"] },
      { Sid = "Marks", Action = local.remove, Resource = ["${local.bucket}/${local.prefix}collector/*"] },
      { Sid = "CollectWAL", Action = ["s3:AbortMultipartUpload", "s3:DeleteObject"], Resource = local.wal },
      local.find_uploads,
    ]
    sweep = [{ Sid = "ReleaseWAL", Action = ["s3:DeleteObject"], Resource = local.wal }]
    api   = []
  }

  # The tables of each job: group offsets are the brokers', and the API's, which resets them.
  tables = {
    broker     = ["control", "offsets"]
    node       = ["control", "offsets"]
    retention  = ["control"]
    compaction = ["control"]
    collector  = ["control"]
    sweep      = ["control"]
    api        = ["control", "offsets"]
  }

  # Snapshots of the metadata are everybody's; brokers also try their stores when they start.
  # Old snapshots are removed by whoever makes a new one; the archive, which is the audit, by the collector alone.
  probe = { for job, special in local.special : job => contains(["broker", "node"], job) ? ["probe/*"] : [] }

  common = concat(
    [
      { Sid = "List", Action = ["s3:ListBucket"], Resource = local.buckets, Condition = { StringLikeIfExists = { "s3:prefix" = local.prefixes } } },
    ],
    local.express ? [{ Sid = "WALSession", Action = ["s3express:CreateSession"], Resource = ["arn:${local.partition}:s3express:${local.regional}:bucket/${local.wal_name}"] }] : [],
  )

  key = var.kms_key_arn == null ? [] : [{ Sid = "Encryption", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [var.kms_key_arn] }]

  statements = {
    for job, special in local.special : job => concat(
      special,
      [
        { Sid = "Read", Action = ["s3:GetObject"], Resource = local.everything },
        { Sid = "Snapshots", Action = local.write, Resource = [for k in concat(["metalog/*"], local.probe[job]) : "${local.bucket}/${local.prefix}${k}"] },
        { Sid = "OldSnapshots", Action = ["s3:DeleteObject"], Resource = [for k in concat(["metalog/0*"], local.probe[job]) : "${local.bucket}/${local.prefix}${k}"] },
      ],
      local.common,
      [{ Sid = "Tables", Action = local.items, Resource = [for t in local.tables[job] : "arn:${local.partition}:dynamodb:${local.regional}:table/${var.tables}-${t}"] }],
      local.key,
    )
  }
}

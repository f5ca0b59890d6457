# A cluster of Forebay: where its log and its metadata are, who may do what, brokers, functions and alarms. The files
# are split by purpose: storage.tf, brokers.tf, functions.tf, monitoring.tf.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  region = data.aws_region.current.region
  tags   = merge(var.tags, { "forebay:cluster" = var.name })

  # How brokers and functions find the stores. A trailing slash would be part of the prefix.
  prefix       = trim(var.object_prefix, "/")
  object_store = "s3://${module.storage.bucket}${local.prefix == "" ? "" : "/${local.prefix}"}?region=${local.region}"
  wal_store    = var.wal_zone_id == null ? null : "s3://${module.storage.wal_bucket}?region=${local.region}"
  metadata     = "dynamodb://${module.tables.prefix}?region=${local.region}"

  functions_maintain = var.maintenance == "functions"
}

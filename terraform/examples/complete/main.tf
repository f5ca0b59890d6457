# Everything that a cluster can have: a network and a key of its own, a name in DNS, tables with provisioned capacity,
# S3 Express for what is not sealed, functions with settings of their own, alarms.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

resource "aws_kms_key" "this" {
  description             = "Log and metadata of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountDecidesByIAM"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_s3_bucket" "artifacts" {
  bucket        = "${var.name}-artifacts-${data.aws_caller_identity.current.account_id}"
  force_destroy = true
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  bucket                  = aws_s3_bucket.artifacts.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Named by what it is, so that machines of two versions can be started at any time.
resource "aws_s3_object" "binary" {
  bucket      = aws_s3_bucket.artifacts.id
  key         = "forebay-${filesha256(var.binary_file)}"
  source      = var.binary_file
  source_hash = filesha256(var.binary_file)
}

module "forebay" {
  source = "../.."

  name                   = var.name
  vpc_id                 = aws_vpc.this.id
  subnet_ids             = aws_subnet.private[*].id
  route_table_ids        = [aws_route_table.private.id]
  client_security_groups = { clients = aws_security_group.clients.id }
  metrics_cidrs          = [aws_vpc.this.cidr_block]
  dns                    = { zone_id = aws_route53_zone.this.zone_id, name = "kafka.${var.name}.internal" }

  broker_count    = 3
  binary          = "s3://${aws_s3_object.binary.bucket}/${aws_s3_object.binary.key}"
  binary_sha256   = filesha256(var.binary_file)
  instance_type   = "i4g.large"
  broker_settings = { FOREBAY_HOT_BYTES = "214748364800", FOREBAY_CACHE_BYTES = "2147483648" }

  kms_key_arn     = aws_kms_key.this.arn
  versioning_days = 3
  wal_zone_id     = var.wal_zone_id
  provisioned_tables = {
    read_min  = 50
    read_max  = 2000
    write_min = 25
    write_max = 1000
  }

  package_dir        = "${path.module}/../../../bin/functions"
  function_overrides = { compaction = { memory_mb = 4096 } }
  api_endpoint       = "http_api"
  admin_writers      = var.operators
  alarm_emails       = var.emails
}

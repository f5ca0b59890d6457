provider "aws" {
  region = "eu-central-1"
}

variables {
  bucket = "forebay-test-log"
}

run "defaults" {
  assert {
    condition     = aws_s3_bucket.log.force_destroy == false
    error_message = "The log must not go with its bucket."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.log.block_public_acls, aws_s3_bucket_public_access_block.log.block_public_policy,
      aws_s3_bucket_public_access_block.log.ignore_public_acls, aws_s3_bucket_public_access_block.log.restrict_public_buckets,
    ])
    error_message = "Nothing may be public."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.log.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Without a key objects are encrypted with keys of S3."
  }
  assert {
    condition     = one(aws_s3_bucket_versioning.log.versioning_configuration).status == "Suspended"
    error_message = "Versions keep what the collector removes."
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.log.rule) == 1 && aws_s3_bucket_lifecycle_configuration.log.rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 2
    error_message = "Unfinished uploads are removed."
  }
  assert {
    condition     = alltrue([for r in aws_s3_bucket_lifecycle_configuration.log.rule : length(r.expiration) == 0 && length(r.transition) == 0])
    error_message = "No rule may expire or move an object."
  }
  assert {
    condition     = [for s in jsondecode(aws_s3_bucket_policy.log.policy).Statement : s.Sid if s.Effect == "Deny"] == ["OnlyTLS", "OnlyModernTLS"]
    error_message = "Only TLS may reach the bucket."
  }
  assert {
    condition     = output.wal_bucket == null && output.bucket == "forebay-test-log" && output.bucket_arn == "arn:aws:s3:::forebay-test-log"
    error_message = "Outputs do not name the bucket."
  }
}

run "own_key_versions_and_wal" {
  variables {
    kms_key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/1"
    versioning_days = 7
    wal_bucket      = "fast"
    wal_zone_id     = "euc1-az1"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.log.rule).apply_server_side_encryption_by_default).kms_master_key_id == "arn:aws:kms:eu-central-1:123456789012:key/1"
    error_message = "Objects are encrypted with the key."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.log.rule).bucket_key_enabled
    error_message = "Without a bucket key each request to S3 is one to KMS."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.log.rule[1].noncurrent_version_expiration[0].noncurrent_days == 7
    error_message = "Older versions must end."
  }
  assert {
    condition     = output.wal_bucket == "fast--euc1-az1--x-s3"
    error_message = "S3 wants this form of the name of a directory bucket."
  }
}

run "refuses_wrong_names" {
  command = plan

  variables {
    bucket      = "Not.A.Bucket"
    kms_key_arn = "alias/log"
    wal_zone_id = "eu-central-1a"
  }

  expect_failures = [var.bucket, var.kms_key_arn, var.wal_zone_id]
}

output "bucket" {
  description = "Name of the bucket of the log, once its settings are in place."
  value       = aws_s3_bucket.log.id

  depends_on = [aws_s3_bucket_policy.log, aws_s3_bucket_server_side_encryption_configuration.log]
}

output "bucket_arn" {
  description = "ARN of the bucket of the log."
  value       = aws_s3_bucket.log.arn
}

output "wal_bucket" {
  description = "Name of the directory bucket of WAL objects, or null if they are in the bucket of the log."
  value       = one(aws_s3_directory_bucket.wal[*].bucket)
}

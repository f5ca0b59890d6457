variable "bucket" {
  description = "Name of the bucket of the log."
  type        = string
}

variable "prefix" {
  description = "Prefix of all keys in the bucket; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "wal_bucket" {
  description = "Name of a bucket of its own for WAL objects, or null if they are in the bucket of the log."
  type        = string
  default     = null
}

variable "wal_prefix" {
  description = "Prefix of all keys in the bucket of WAL objects, if it is one of its own."
  type        = string
  default     = ""
  nullable    = false
}

variable "tables" {
  description = "What the names of the tables begin with, as in dynamodb://prefix."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of buckets and tables, or null if they have none of their own."
  type        = string
  default     = null
}

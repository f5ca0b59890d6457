variable "bucket" {
  description = "Name of the bucket of the log."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket has 3 to 63 lower-case letters, digits and hyphens; dots break TLS."
  }
}

variable "force_destroy" {
  description = "Whether destroying the bucket destroys the log in it, too. For trials only."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts objects, or null for keys of S3."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The key must be the ARN of a KMS key: an alias or id cannot be named in policies."
  }
}

variable "versioning_days" {
  description = "How many days a removed object can be brought back as an older version, which is paid for; 0 for not at all."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.versioning_days >= 0 && floor(var.versioning_days) == var.versioning_days
    error_message = "Whole days, 0 or more."
  }
}

variable "abort_uploads_days" {
  description = "After how many days parts of an upload that nobody finished are removed; a living upload takes minutes."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.abort_uploads_days >= 1 && var.abort_uploads_days <= 30
    error_message = "1 to 30 days."
  }
}

variable "wal_bucket" {
  description = "Name of the directory bucket of WAL objects, without the zone and --x-s3 that follow it."
  type        = string
  default     = "forebay-wal"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,40}$", var.wal_bucket)) && !strcontains(var.wal_bucket, "--")
    error_message = "2 to 41 lower-case letters, digits and single hyphens."
  }
}

variable "wal_zone_id" {
  description = "Id of the availability zone, such as use1-az5, in which S3 Express keeps WAL objects; null keeps them in the bucket of the log."
  type        = string
  default     = null

  validation {
    condition     = var.wal_zone_id == null || can(regex("^[a-z0-9]+-az[0-9]+$", var.wal_zone_id))
    error_message = "The id of a zone, such as use1-az5, and not its name."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "At most 40 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "package_dir" {
  description = "Directory of the zips that `make functions` writes: NAME-arm64.zip and NAME-amd64.zip."
  type        = string
}

variable "architecture" {
  description = "arm64, which is cheaper, or amd64."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "amd64"], var.architecture)
    error_message = "arm64 or amd64."
  }
}

variable "functions" {
  description = "Which functions there are. Brokers that do maintenance themselves need api at the most."
  type        = set(string)
  default     = ["api", "retention", "compaction", "collector", "sweep"]
  nullable    = false

  validation {
    condition     = length(setsubtract(var.functions, ["api", "retention", "compaction", "collector", "sweep"])) == 0
    error_message = "Known functions are api, retention, compaction, collector and sweep."
  }
}

variable "overrides" {
  description = "Settings of single functions that differ from the defaults, by function."
  type = map(object({
    memory_mb       = optional(number)
    timeout_seconds = optional(number)
    concurrency     = optional(number)
    schedule        = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(keys(var.overrides), ["api", "retention", "compaction", "collector", "sweep"])) == 0
    error_message = "Known functions are api, retention, compaction, collector and sweep."
  }

  validation {
    condition     = alltrue([for f in var.overrides : f.schedule == null ? true : can(regex("^(rate|cron)\\(.+\\)$", f.schedule))])
    error_message = "A schedule is rate(5 minutes) or cron(...)."
  }
}

variable "policies" {
  description = "The IAM policy of each function, as JSON: module iam has them."
  type        = map(string)
}

variable "object_store" {
  description = "URL of the bucket, as brokers have it: s3://bucket/prefix."
  type        = string

  validation {
    condition     = startswith(var.object_store, "s3://")
    error_message = "s3://bucket/prefix."
  }
}

variable "wal_store" {
  description = "URL of a bucket of its own for WAL objects, as brokers have it, or null."
  type        = string
  default     = null
}

variable "metadata" {
  description = "URL of the tables, as brokers have it: dynamodb://prefix."
  type        = string

  validation {
    condition     = startswith(var.metadata, "dynamodb://")
    error_message = "dynamodb://prefix."
  }
}

variable "collect_grace" {
  description = "How long the collector keeps what nothing names, such as 24h; null for its default. Longer than anybody who paused may still be using it."
  type        = string
  default     = null

  validation {
    condition     = var.collect_grace == null || can(regex("^[0-9]+(h|m)([0-9]+m)?$", var.collect_grace))
    error_message = "A duration such as 24h or 90m."
  }
}

variable "session_ttl" {
  description = "After how long without a sign of life a broker counts as dead, as brokers have it; null for their default. For sweep and the API."
  type        = string
  default     = null
}

variable "api_endpoint" {
  description = "Where the API is called: function_url, which costs nothing, or http_api, which throttles, logs each request, and takes a domain of one's own."
  type        = string
  default     = "function_url"
  nullable    = false

  validation {
    condition     = contains(["function_url", "http_api"], var.api_endpoint)
    error_message = "function_url or http_api."
  }
}

variable "api_throttle" {
  description = "How many requests a second an HTTP API takes, and how many at once beyond that."
  type = object({
    rate  = optional(number, 20)
    burst = optional(number, 40)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.api_throttle.rate > 0 && var.api_throttle.burst >= 1 && floor(var.api_throttle.burst) == var.api_throttle.burst
    error_message = "A rate above zero, and a whole number of requests at once: with less the API refuses everything."
  }
}

variable "admin_readers" {
  description = "ARN patterns of IAM principals that may read through the API. With neither readers nor writers all that IAM lets call it may do everything."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "admin_writers" {
  description = "ARN patterns of IAM principals that may read and change things through the API. With neither readers nor writers all that IAM lets call it may do everything."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "new_topics" {
  description = "What the API gives new topics that ask for nothing else: the brokers' num.partitions and default.replication.factor."
  type = object({
    partitions         = optional(number)
    replication_factor = optional(number)
  })
  default  = {}
  nullable = false
}

variable "reserve_concurrency" {
  description = "Whether each function has concurrency of its own: one round at a time, and a bound for the API. false where the account has none to spare."
  type        = bool
  default     = true
  nullable    = false
}

variable "log_retention_days" {
  description = "How many days logs are kept."
  type        = number
  default     = 30
  nullable    = false
}

variable "logs_kms_key_arn" {
  description = "ARN of the KMS key that encrypts logs, whose policy must allow CloudWatch Logs; null for none of one's own."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds all roles, or null."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "At most 40 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "brokers" {
  description = "The brokers by node id: the subnet and zone of each, what clients are told as its host:port, and the target groups it is in."
  type = map(object({
    subnet_id         = string
    zone              = string
    advertised        = string
    target_group_arns = list(string)
  }))

  validation {
    condition     = length(var.brokers) > 0 && alltrue([for id in keys(var.brokers) : can(regex("^[1-9][0-9]*$", id))])
    error_message = "At least one broker, by node ids from 1 on."
  }

  validation {
    condition     = alltrue([for b in var.brokers : can(regex("^[^:/]+:[0-9]+$", b.advertised))])
    error_message = "A broker is advertised as host:port."
  }
}

variable "image" {
  description = "The image that the Dockerfile makes, with a tag or a digest."
  type        = string

  validation {
    condition     = can(regex("[:@]", var.image)) && !endswith(var.image, ":latest")
    error_message = "Name a tag other than latest, or a digest: all brokers run the same."
  }
}

variable "policy" {
  description = "The IAM policy of a broker, as JSON: module iam has it."
  type        = string
}

variable "object_store" {
  description = "URL of the bucket: s3://bucket/prefix?region=."
  type        = string
}

variable "wal_store" {
  description = "URL of a bucket of its own for WAL objects, or null."
  type        = string
  default     = null
}

variable "metadata" {
  description = "URL of the tables: dynamodb://prefix?region=."
  type        = string
}

variable "functions_maintain" {
  description = "Whether functions do retention, compaction and collection, so that brokers do not."
  type        = bool
  default     = true
  nullable    = false
}

variable "settings" {
  description = "More settings of all brokers, as environment variables: FOREBAY_HOT_BYTES and so on."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for k in keys(var.settings) : can(regex("^FOREBAY_[A-Z_]+$", k))])
    error_message = "Names begin with FOREBAY_."
  }
}

variable "security_group_ids" {
  description = "Security groups of the brokers."
  type        = list(string)
}

variable "assign_public_ip" {
  description = "Whether tasks get public addresses, which those in subnets without NAT need to fetch the image."
  type        = bool
  default     = false
  nullable    = false
}

variable "launch_type" {
  description = "FARGATE, or EC2 if the cluster is given instances."
  type        = string
  default     = "FARGATE"
  nullable    = false

  validation {
    condition     = contains(["FARGATE", "EC2"], var.launch_type)
    error_message = "FARGATE or EC2."
  }
}

variable "architecture" {
  description = "arm64 or amd64, as the image is."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "amd64"], var.architecture)
    error_message = "arm64 or amd64."
  }
}

variable "cpu_units" {
  description = "Share of processors of a broker: 1024 is one."
  type        = number
  default     = 2048
  nullable    = false

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu_units)
    error_message = "What Fargate has: 256, 512, 1024, 2048, 4096, 8192 or 16384."
  }
}

variable "memory_mb" {
  description = "Memory of a broker, in MiB."
  type        = number
  default     = 4096
  nullable    = false

  validation {
    condition     = var.memory_mb >= 512
    error_message = "At least 512."
  }
}

variable "disk_gb" {
  description = "Disk of a broker on Fargate, in GiB: room for hot segments and what is not sealed yet."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.disk_gb >= 21 && var.disk_gb <= 200
    error_message = "Fargate has 21 to 200."
  }
}

variable "broker_port" {
  description = "Port of the Kafka protocol of the tasks."
  type        = number
  default     = 9092
  nullable    = false
}

variable "admin_port" {
  description = "Port of health and metrics of the tasks."
  type        = number
  default     = 8080
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

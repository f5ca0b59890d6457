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

variable "binary" {
  description = "Where the binary for Linux is: s3://bucket/key."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+/.+$", var.binary))
    error_message = "s3://bucket/key."
  }
}

variable "binary_sha256" {
  description = "SHA-256 of the binary in hex, with which a machine checks what it has fetched; null for no check."
  type        = string
  default     = null

  validation {
    condition     = var.binary_sha256 == null || can(regex("^[0-9a-f]{64}$", var.binary_sha256))
    error_message = "64 hexadecimal digits."
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
    condition     = alltrue([for k, v in var.settings : can(regex("^FOREBAY_[A-Z_]+$", k)) && can(regex("^[^\\n'\"]*$", v))])
    error_message = "Names begin with FOREBAY_, and values are one line without quotes."
  }
}

variable "security_group_ids" {
  description = "Security groups of the brokers."
  type        = list(string)
}

variable "instance_type" {
  description = "Type of the instances. One with a disk of its own, such as i4g.large, keeps more of the log at hand."
  type        = string
  default     = "m7g.large"
  nullable    = false
}

variable "architecture" {
  description = "arm64 or amd64, as the instance type and the binary are."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "amd64"], var.architecture)
    error_message = "arm64 or amd64."
  }
}

variable "ami_id" {
  description = "Image of the machines, with systemd, Python 3 and the AWS CLI; null for the newest Amazon Linux 2023."
  type        = string
  default     = null
}

variable "data_volume" {
  description = "The volume of hot segments, which counts for instances without disks of their own."
  type = object({
    size_gb         = optional(number, 50)
    iops            = optional(number, 3000)
    throughput_mbps = optional(number, 250)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.data_volume.size_gb >= 10 && var.data_volume.iops >= 3000 && var.data_volume.throughput_mbps >= 125 && var.data_volume.throughput_mbps <= 2000
    error_message = "At least 10 GB, 3000 IOPS and 125 MB/s."
  }
}

variable "broker_port" {
  description = "Port of the Kafka protocol on the machines."
  type        = number
  default     = 9092
  nullable    = false
}

variable "admin_port" {
  description = "Port of health and metrics on the machines."
  type        = number
  default     = 8080
  nullable    = false
}

variable "session_manager" {
  description = "Whether operators can open a shell on the machines through Session Manager, the only way in."
  type        = bool
  default     = true
  nullable    = false
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

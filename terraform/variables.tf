variable "name" {
  description = "Name of the cluster, with which the names of its resources begin."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "2 to 21 lower-case letters, digits and single hyphens, beginning with a letter."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "protect" {
  description = "Whether bucket, tables and load balancer refuse to be destroyed, and the tables can be brought back to an earlier second. false for trials only."
  type        = bool
  default     = true
  nullable    = false
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds all roles, or null."
  type        = string
  default     = null
}

# Where the log and the metadata are.

variable "bucket" {
  description = "Name of the bucket; null for one made of name, account and region."
  type        = string
  default     = null
}

variable "object_prefix" {
  description = "Prefix of all keys in the bucket."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]{0,100}$", var.object_prefix))
    error_message = "At most 100 letters, digits, slashes, dots, hyphens and underscores."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts bucket and tables, or null for keys of S3 and DynamoDB."
  type        = string
  default     = null
}

variable "versioning_days" {
  description = "How many days a removed object can be brought back; 0 for not at all."
  type        = number
  default     = 0
  nullable    = false
}

variable "wal_zone_id" {
  description = "Id of the zone, such as use1-az5, in which S3 Express keeps WAL objects: faster acknowledgements, in one zone only. null keeps them in the bucket."
  type        = string
  default     = null
}

variable "provisioned_tables" {
  description = "Capacity of each table, which is scaled; null for on demand."
  type = object({
    read_min       = number
    read_max       = number
    write_min      = number
    write_max      = number
    target_percent = optional(number, 60)
  })
  default = null
}

# Brokers.

variable "platform" {
  description = "What runs brokers: ec2, ecs, or none for stores and functions alone."
  type        = string
  default     = "ec2"
  nullable    = false

  validation {
    condition     = contains(["ec2", "ecs", "none"], var.platform)
    error_message = "ec2, ecs or none."
  }
}

variable "broker_count" {
  description = "How many brokers there are."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.broker_count >= 1 && var.broker_count <= 45 && floor(var.broker_count) == var.broker_count
    error_message = "1 to 45: a load balancer has 50 listeners."
  }
}

variable "vpc_id" {
  description = "The VPC of the brokers; null if there are none."
  type        = string
  default     = null

  validation {
    condition     = var.platform == "none" || var.vpc_id != null
    error_message = "Brokers need a VPC."
  }
}

variable "subnet_ids" {
  description = "Subnets of brokers and load balancer, one for each zone."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = var.platform == "none" || length(var.subnet_ids) > 0
    error_message = "Brokers need subnets."
  }
}

variable "route_table_ids" {
  description = "Route tables of these subnets, which get gateway endpoints for S3 and DynamoDB; empty if the VPC has these endpoints."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "client_cidrs" {
  description = "Addresses of Kafka clients. The protocol is served without TLS and without authentication: only networks that are trusted."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "client_security_groups" {
  description = "Security groups of Kafka clients, by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "metrics_cidrs" {
  description = "Addresses that may ask brokers for metrics and health."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "dns" {
  description = "A name for the load balancer, in full, and the id of the Route 53 zone, private or not, that it is in; null to use the load balancer's own name."
  type = object({
    zone_id = string
    name    = string
  })
  default = null
}

variable "architecture" {
  description = "arm64 or amd64, of brokers and functions."
  type        = string
  default     = "arm64"
  nullable    = false
}

variable "broker_settings" {
  description = "More settings of all brokers, as environment variables: FOREBAY_HOT_BYTES and so on."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "maintenance" {
  description = "Who does retention, compaction and collection: functions or brokers."
  type        = string
  default     = "functions"
  nullable    = false

  validation {
    condition     = contains(["functions", "brokers"], var.maintenance)
    error_message = "functions or brokers."
  }

  validation {
    condition     = var.maintenance == "brokers" || var.package_dir != null
    error_message = "Functions need package_dir: without them nobody would move log starts, compact, or collect."
  }
}

variable "binary" {
  description = "Where the brokers' binary is, on EC2: s3://bucket/key."
  type        = string
  default     = null

  validation {
    condition     = var.platform != "ec2" || var.binary != null
    error_message = "Brokers on EC2 need a binary."
  }
}

variable "binary_sha256" {
  description = "SHA-256 of the binary in hex; null for no check."
  type        = string
  default     = null
}

variable "instance_type" {
  description = "Type of the instances, on EC2."
  type        = string
  default     = "m7g.large"
  nullable    = false
}

variable "data_volume" {
  description = "The volume of hot segments on EC2, for instances without disks of their own."
  type = object({
    size_gb         = optional(number, 50)
    iops            = optional(number, 3000)
    throughput_mbps = optional(number, 250)
  })
  default  = {}
  nullable = false
}

variable "image" {
  description = "The brokers' image, on ECS."
  type        = string
  default     = null

  validation {
    condition     = var.platform != "ecs" || var.image != null
    error_message = "Brokers on ECS need an image."
  }
}

variable "task_size" {
  description = "What a broker on Fargate has."
  type = object({
    cpu_units = optional(number, 2048)
    memory_mb = optional(number, 4096)
    disk_gb   = optional(number, 50)
  })
  default  = {}
  nullable = false
}

variable "assign_public_ip" {
  description = "Whether brokers on ECS get public addresses, which those in subnets without NAT need to fetch the image."
  type        = bool
  default     = false
  nullable    = false
}

# Functions.

variable "package_dir" {
  description = "Directory of the zips of `make functions`; null for no functions."
  type        = string
  default     = null
}

variable "function_overrides" {
  description = "Settings of single functions that differ from the defaults, by function."
  type = map(object({
    memory_mb       = optional(number)
    timeout_seconds = optional(number)
    concurrency     = optional(number)
    schedule        = optional(string)
  }))
  default  = {}
  nullable = false
}

variable "api_endpoint" {
  description = "Where the admin API is called: function_url, which costs nothing, or http_api, which throttles, logs each request, and takes a domain of one's own."
  type        = string
  default     = "function_url"
  nullable    = false

  validation {
    condition     = contains(["function_url", "http_api"], var.api_endpoint)
    error_message = "function_url or http_api."
  }
}

variable "api_throttle" {
  description = "How many requests a second an HTTP API in front of the admin API takes, and how many at once beyond that."
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
  description = "ARN patterns of IAM principals that may read through the admin API. With neither readers nor writers all that IAM lets call it may do everything."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "admin_writers" {
  description = "ARN patterns of IAM principals that may read and change things through the admin API. With neither readers nor writers all that IAM lets call it may do everything."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "new_topics" {
  description = "What the admin API gives new topics that ask for nothing else."
  type = object({
    partitions         = optional(number)
    replication_factor = optional(number)
  })
  default  = {}
  nullable = false
}

variable "reserve_concurrency" {
  description = "Whether each function has concurrency of its own. false where the account has none to spare."
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

# Monitoring.

variable "monitoring" {
  description = "Whether there are alarms and a dashboard."
  type        = bool
  default     = true
  nullable    = false
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to; empty for a topic made for them."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "alarm_emails" {
  description = "Addresses that the topic made for alarms writes to."
  type        = list(string)
  default     = []
  nullable    = false
}

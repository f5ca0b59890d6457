variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}[a-z0-9]$", var.name))
    error_message = "2 to 21 lower-case letters, digits and hyphens: names of load balancers have 32."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the load balancer, one for each zone, with those of the brokers among their zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "A load balancer needs a subnet."
  }
}

variable "route_table_ids" {
  description = "Route tables of the brokers' subnets, which get gateway endpoints for S3 and DynamoDB; empty if the VPC has these endpoints."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "broker_ids" {
  description = "Node ids of the brokers, from 1 on."
  type        = list(number)

  validation {
    condition     = length(var.broker_ids) > 0 && alltrue([for id in var.broker_ids : id >= 1 && id <= 45 && floor(id) == id])
    error_message = "Ids are 1 to 45: a load balancer has 50 listeners."
  }
}

variable "internal" {
  description = "Whether the load balancer has private addresses only."
  type        = bool
  default     = true
  nullable    = false
}

variable "client_cidrs" {
  description = "Addresses of Kafka clients. The protocol is served without TLS and without authentication: only networks that are trusted."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.client_cidrs : can(cidrhost(c, 0)) && c != "0.0.0.0/0"])
    error_message = "Blocks such as 10.0.0.0/16; the whole Internet is none."
  }
}

variable "client_security_groups" {
  description = "Security groups of Kafka clients, by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "metrics_cidrs" {
  description = "Addresses that may ask brokers for metrics and health, such as those of Prometheus."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.metrics_cidrs : can(cidrhost(c, 0)) && c != "0.0.0.0/0"])
    error_message = "Blocks such as 10.0.0.0/16; the whole Internet is none."
  }
}

variable "port" {
  description = "First port of the load balancer, which leads to any broker; broker n is at this port plus n."
  type        = number
  default     = 9092
  nullable    = false

  validation {
    condition     = var.port >= 1024 && var.port <= 65000
    error_message = "1024 to 65000."
  }
}

variable "broker_port" {
  description = "Port of the Kafka protocol on the brokers themselves."
  type        = number
  default     = 9092
  nullable    = false
}

variable "admin_port" {
  description = "Port of health and metrics on the brokers themselves."
  type        = number
  default     = 8080
  nullable    = false
}

variable "target_type" {
  description = "What brokers are: instance (EC2) or ip (ECS)."
  type        = string
  default     = "instance"
  nullable    = false

  validation {
    condition     = contains(["instance", "ip"], var.target_type)
    error_message = "instance or ip."
  }
}

variable "dns" {
  description = "A name for the load balancer, in full, and the id of the Route 53 zone, private or not, that it is in; null to use the load balancer's own name."
  type = object({
    zone_id = string
    name    = string
  })
  default = null

  validation {
    condition     = var.dns == null ? true : can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.dns.name))
    error_message = "A name in full, such as kafka.example.internal."
  }
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be deleted. Its name is that by which clients know brokers."
  type        = bool
  default     = true
  nullable    = false
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

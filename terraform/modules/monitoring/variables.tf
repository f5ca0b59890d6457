variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket of the log."
  type        = string
}

variable "tables" {
  description = "Names of the tables, by control and offsets."
  type        = map(string)
}

variable "functions" {
  description = "Names of the functions, by what they do."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "scheduled_functions" {
  description = "Which of the functions run on a schedule, so that it is noticed when they do not."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "dead_letter_queue" {
  description = "Name of the queue of requests to functions that failed, or null."
  type        = string
  default     = null
}

variable "balancer_arn_suffix" {
  description = "The load balancer, as CloudWatch names it, or null."
  type        = string
  default     = null
}

variable "target_group_arn_suffixes" {
  description = "Target group of each broker, as CloudWatch names it, by node id."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "autoscaling_groups" {
  description = "Auto Scaling group of each broker, by node id."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ecs_cluster" {
  description = "Name of the ECS cluster, or null."
  type        = string
  default     = null
}

variable "ecs_services" {
  description = "ECS service of each broker, by node id."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to; empty for a topic made here."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "emails" {
  description = "Addresses that the topic made here writes to, once they have said yes."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}
